"""A callback that writes down what it is told."""

import json

import keras


class Recorder(keras.callbacks.Callback):
    """Appends every call to a file, as JSON lines.

    Args:
        path: of the file.
        stop_at: batch of the first epoch after which it stops the training.
    """

    def __init__(self, path: str, stop_at: int | None = None):
        super().__init__()
        self.path = path
        self.stop_at = stop_at
        self.batches = 0

    def write(self, *values):
        with open(self.path, "a") as file:
            file.write(json.dumps(values) + "\n")

    def on_train_begin(self, logs=None):
        self.write("begin", self.params["stage"], self.params["epochs"])

    def on_train_end(self, logs=None):
        self.write("end", logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.write("epoch", epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.write("epoch end", epoch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        self.write("batch", batch, self.batches, logs)
        if batch == self.stop_at:
            self.model.stop_training = True


def calls(path) -> list[list]:
    """What was written down."""
    with open(path) as file:
        return [json.loads(line) for line in file]
