"""The optimizer of a training: its schedule, weight decay, and the moving average of the weights."""

import contextlib
from collections.abc import Iterator, Sequence

import keras

from yt8m_distill.config.training import Learning
from yt8m_distill.errors import UserError
from yt8m_distill.training.fused_adam import FusedAdam, FusedAdamW

WARMUP_PART = 20  # of all steps one in so many, where the number is not given


def learning_rate_schedule(
    learning: Learning, total_steps: int | None = None
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate by step.

    "decay": it is multiplied by a factor each time `learning_rate_decay_examples` examples have been seen. "cosine":
    from 0 up to `base_learning_rate` in a line, and from there down to 0 at the last step, along half a cosine.

    Args:
        learning: with its recipe's values.
        total_steps: of the stage, for "cosine".

    Raises:
        UserError: the warm-up is as long as the stage.

    Source: the starter code for "decay"; Loshchilov and Hutter, "SGDR" (2017), as `keras.optimizers.schedules` has it,
        for "cosine".

    Example:
        >>> learning = Learning(
        ...     batch_size=10, base_learning_rate=0.1, learning_rate_decay=0.5, learning_rate_decay_examples=30
        ... )
        >>> schedule = learning_rate_schedule(learning)
        >>> [round(float(schedule(step)), 3) for step in (0, 2, 3, 6)]
        [0.1, 0.1, 0.05, 0.025]
    """
    if learning.depends_on_total:
        return _cosine(learning, total_steps)
    return keras.optimizers.schedules.ExponentialDecay(
        learning.base_learning_rate,
        learning.learning_rate_decay_examples / learning.batch_size,
        learning.learning_rate_decay,
        staircase=True,
    )


def _cosine(learning: Learning, total_steps: int) -> keras.optimizers.schedules.CosineDecay:
    warmup = total_steps // WARMUP_PART if learning.warmup_steps is None else learning.warmup_steps
    if warmup >= total_steps:
        raise UserError(f"warmup_steps={warmup} must be less than all {total_steps} steps of a stage of the training.")
    rise = {"warmup_target": learning.base_learning_rate, "warmup_steps": warmup} if warmup else {}
    first = 0.0 if warmup else learning.base_learning_rate
    return keras.optimizers.schedules.CosineDecay(first, total_steps - warmup, **rise)


def make_optimizer(learning: Learning, total_steps: int | None = None) -> keras.optimizers.Optimizer:
    """The Keras optimizer of a training; its name may end with "Optimizer", as in the starter code.

    Args:
        learning: with its recipe's values.
        total_steps: of the stage, where `learning.depends_on_total`.

    Raises:
        UserError: Keras has no such optimizer, or it only wraps others; or as for `learning_rate_schedule`.
    """
    classes = {name.lower(): value for name, value in vars(keras.optimizers).items() if _is_optimizer(value)}
    optimizer_class = classes.get(learning.optimizer.removesuffix("Optimizer").lower())
    if optimizer_class is None:
        names = ", ".join(sorted(value.__name__ for value in classes.values()))
        raise UserError(f"optimizer={learning.optimizer} is not a Keras optimizer; known are {names}.")
    # TensorFlow 1's epsilon, with which the papers' settings were found.
    options = {"epsilon": 1e-8} if optimizer_class is keras.optimizers.Adam else {}
    if learning.weight_decay is not None:
        options["weight_decay"] = learning.weight_decay
    if learning.ema_momentum is not None:
        options |= {"use_ema": True, "ema_momentum": learning.ema_momentum}
    fused = {keras.optimizers.Adam: FusedAdam, keras.optimizers.AdamW: FusedAdamW}
    optimizer_class = fused.get(optimizer_class, optimizer_class)
    optimizer = optimizer_class(learning_rate=learning_rate_schedule(learning, total_steps), **options)
    # Small gradients underflow in float16: losses are scaled, and steps that overflow are skipped.
    return keras.optimizers.LossScaleOptimizer(optimizer) if learning.precision == "float16" else optimizer


def _is_optimizer(value: object) -> bool:
    """Whether it is an optimizer, neither their base class nor a wrapper of others."""
    others = ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
    return isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer) and value.__name__ not in others


def build(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]):
    """Creates the optimizer's variables. Biases and the scales of batch normalization have no weight decay."""
    vectors = [variable for variable in variables if len(variable.shape) < 2]
    _unwrapped(optimizer).exclude_from_weight_decay(var_list=vectors)
    optimizer.build(variables)


@contextlib.contextmanager
def averaged(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Within the context, the variables have the values of their moving averages (EMA), if the optimizer keeps them.

    The statistics of batch normalization are moving averages anyway, and do not change.

    Args:
        optimizer: built with `variables`.
        variables: all of them, in the same order.
    """
    if not averages(optimizer):
        yield
        return
    values = [variable.numpy() for variable in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def take_over_averages(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]):
    """Sets the variables to their moving averages, if the optimizer keeps them."""
    if averages(optimizer):
        optimizer.finalize_variable_values(variables)


def steps_done(optimizer: keras.optimizers.Optimizer) -> int:
    """Steps of this optimizer, including those before a restart."""
    return int(optimizer.iterations.numpy())  # int() does not work for variables on several devices


def averages(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether there are moving averages: before the first step they are 0."""
    return _unwrapped(optimizer).use_ema and steps_done(optimizer) > 0


def _unwrapped(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer without the one that scales losses around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)
