"""The weights that a model starts from: all of another one's, or those of the classifier."""

import keras

from yt8m_distill.errors import UserError


def start_from_classifier(student: keras.Model, teacher: keras.Model):
    """Gives the student the teacher's classifier weights.

    Raises:
        UserError: the classifiers do not have the same variables.

    Source: Bhardwaj et al. section 4, serial training.
    """
    check_classifiers(student, teacher)
    student.classifier.set_weights(teacher.classifier.get_weights())


def start_from_teacher(student: keras.Model, teacher: keras.Model):
    """Gives the student all of the teacher's weights, as `start_from_model`."""
    start_from_model(student, teacher, "student_init=teacher")


def start_from_model(model: keras.Model, start: keras.Model, setting: str):
    """Gives a model all weights of another one; those that only choose frames where both models have them.

    Args:
        model: new.
        start: whose weights it gets.
        setting: that asks for it, for errors.

    Raises:
        UserError: the models do not have the same variables.
    """
    check_same_weights(model, start, setting)
    pairs = list(zip(_network_weights(model), _network_weights(start), strict=True))
    ours, theirs = _choosing_weights(model), _choosing_weights(start)
    if ours and theirs:
        pairs += zip(ours, theirs, strict=True)
    for variable, value in pairs:
        variable.assign(value)


def _network_weights(model: keras.Model) -> list:
    """The weights without those that only choose frames, which a teacher does not."""
    choosing = {id(variable) for variable in _choosing_weights(model)}
    return [variable for variable in model.weights if id(variable) not in choosing]


def _choosing_weights(model: keras.Model) -> list:
    choosing = {id(variable) for variable in getattr(model, "chosen_by", ())}
    return [variable for variable in model.weights if id(variable) in choosing]


def check_same_weights(student: keras.Model, teacher: keras.Model, setting: str = "student_init=teacher"):
    """Raises UserError where the models do not have the same variables, as the setting needs it."""
    theirs, ours = (
        [(v.path.partition("/")[2], tuple(v.shape)) for v in _network_weights(model)] for model in (teacher, student)
    )
    if [shape for _, shape in theirs] != [shape for _, shape in ours]:
        different = next((f"'{name}'" for name, shape in ours if (name, shape) not in theirs), "their number")
        raise UserError(
            f"{setting} needs models with the same weights; {different} differs. Give this one the arguments of the "
            f"other, or leave out {setting}."
        )


def check_classifiers(student: keras.Model, teacher: keras.Model):
    """Raises UserError where the classifiers do not have the same variables."""
    theirs, ours = _classifier_shapes(teacher), _classifier_shapes(student)
    if theirs != ours:
        raise UserError(
            "teacher and student must have the same classifier and representation size to share the output layer; "
            f"the teacher's weights are {theirs}, the student's {ours}."
        )


def have_same_classifier(student: keras.Model, teacher: keras.Model) -> bool:
    """Whether the classifiers have the same variables."""
    return _classifier_shapes(teacher) == _classifier_shapes(student)


def _classifier_shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(variable.shape) for variable in model.classifier.weights]
