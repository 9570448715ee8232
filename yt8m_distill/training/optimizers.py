"""The optimizer of a training: its schedule, weight decay, and the moving average of the weights."""

import contextlib
from collections.abc import Iterator, Sequence

import keras

from yt8m_distill.config.training import Learning
from yt8m_distill.errors import UserError


def learning_rate_schedule(learning: Learning) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate decays by a factor each time `learning_rate_decay_examples` examples have been seen.

    Source: the starter code.

    Example:
        >>> learning = Learning(
        ...     batch_size=10, base_learning_rate=0.1, learning_rate_decay=0.5, learning_rate_decay_examples=30
        ... )
        >>> schedule = learning_rate_schedule(learning)
        >>> [round(float(schedule(step)), 3) for step in (0, 2, 3, 6)]
        [0.1, 0.1, 0.05, 0.025]
    """
    return keras.optimizers.schedules.ExponentialDecay(
        learning.base_learning_rate,
        learning.learning_rate_decay_examples / learning.batch_size,
        learning.learning_rate_decay,
        staircase=True,
    )


def make_optimizer(learning: Learning) -> keras.optimizers.Optimizer:
    """The Keras optimizer of a training; its name may end with "Optimizer", as in the starter code.

    Raises:
        UserError: Keras has no such optimizer, or it only wraps others.
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
    optimizer = optimizer_class(learning_rate=learning_rate_schedule(learning), **options)
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
