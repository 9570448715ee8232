"""The optimizer of a training: its schedule, weight decay, and the moving average of the weights."""

import contextlib
from collections.abc import Iterator, Sequence

import keras

from yt8m_distill.config.training import Learning
from yt8m_distill.errors import UserError


def learning_rate_schedule(learning: Learning) -> keras.optimizers.schedules.LearningRateSchedule:
    """The rate falls by a factor each time `learning_rate_decay_examples` examples have been seen.

    Source: the starter code.
    """
    return keras.optimizers.schedules.ExponentialDecay(
        learning.base_learning_rate,
        learning.learning_rate_decay_examples / learning.batch_size,
        learning.learning_rate_decay,
        staircase=True,
    )


def make_optimizer(learning: Learning) -> keras.optimizers.Optimizer:
    """The Keras optimizer of that name (a trailing "Optimizer", as the starter code has it, is accepted).

    Raises:
        UserError: there is none, or it is none by itself, as those that wrap others.
    """
    given = learning.optimizer
    known = {name.lower(): each for name, each in vars(keras.optimizers).items() if _is_optimizer(each)}
    optimizer_class = known.get(given.removesuffix("Optimizer").lower())
    if optimizer_class is None:
        names = ", ".join(sorted(each.__name__ for each in known.values()))
        raise UserError(f"--optimizer={given} is no Keras optimizer; known are {names}.")
    # TensorFlow 1's epsilon: the papers' settings were found with it.
    options = {"epsilon": 1e-8} if optimizer_class is keras.optimizers.Adam else {}
    if learning.weight_decay is not None:
        options["weight_decay"] = learning.weight_decay
    if learning.ema_momentum is not None:
        options |= {"use_ema": True, "ema_momentum": learning.ema_momentum}
    optimizer = optimizer_class(learning_rate=learning_rate_schedule(learning), **options)
    # Of small gradients float16 has nothing left: losses are scaled, and steps that overflow left out.
    return keras.optimizers.LossScaleOptimizer(optimizer) if learning.precision == "float16" else optimizer


def _is_optimizer(value: object) -> bool:
    """Whether it is an optimizer by itself, neither what they are derived from nor a wrapper of others."""
    others = ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
    return isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer) and value.__name__ not in others


def build(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]):
    """Creates the optimizer's variables. Weight decay leaves out biases and the scales of batch normalization."""
    _by_itself(optimizer).exclude_from_weight_decay(var_list=[each for each in variables if len(each.shape) < 2])
    optimizer.build(variables)


@contextlib.contextmanager
def averaged(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> Iterator[None]:
    """While it lasts, the variables hold their moving averages, where the optimizer keeps them.

    The statistics of batch normalization are moving averages anyway, and stay as they are.

    Args:
        optimizer: built with `variables`.
        variables: all of them, in the same order.
    """
    if not averages(optimizer):
        yield
        return
    own = [variable.numpy() for variable in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)


def take_over_averages(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]):
    """Lets the variables go on from their moving averages, where the optimizer keeps them."""
    if averages(optimizer):
        optimizer.finalize_variable_values(variables)


def steps_done(optimizer: keras.optimizers.Optimizer) -> int:
    """Steps of this optimizer, those before a restart included."""
    return int(optimizer.iterations.numpy())  # of a variable on several devices, int() knows nothing


def averages(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether there are moving averages: before the first step they are 0."""
    return _by_itself(optimizer).use_ema and steps_done(optimizer) > 0


def _by_itself(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Without what scales the loss for it."""
    return getattr(optimizer, "inner_optimizer", optimizer)
