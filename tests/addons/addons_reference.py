"""Writes what TensorFlow Addons computes on fixed inputs; runs in the environment of requirements-addons.txt only.

    python tests/addons/addons_reference.py tests/reference/addons.npz             # write the file anew
    python tests/addons/addons_reference.py --compare tests/reference/addons.npz   # exit code 1 on a difference

The file holds the inputs and weights beside every result, so the tests that read it need neither this environment nor
the random numbers drawn here.
"""

import argparse
import os
import sys
import warnings

import numpy as np

# Two runs may differ by the order in which another CPU adds, not by more; Adam makes that larger where gradients are
# small.
RTOL = 1e-5
ATOL = 1e-5

NETVLAD_CLUSTERS = 5
NETVLAD_SHORT_FRAMES = 4

# Addons leaves a factor out where its parameter is 0: no class balancing for alpha 0, no focusing for gamma 0.
FOCAL_PARAMETERS = {
    "default": {"alpha": 0.25, "gamma": 2.0},
    "sharp": {"alpha": 0.6, "gamma": 3.5},
    "unfocused": {"alpha": 0.25, "gamma": 0.0},
    "unbalanced": {"alpha": 0.0, "gamma": 2.0},
}

OPTIMIZER_STEPS = 8
AVERAGE_DECAY = 0.9
LEARNING_RATES = {"sgd": 0.1, "adam": 0.05}
AVERAGE_PARAMETERS = {
    "start0": {"start_step": 0, "dynamic_decay": False},
    "start1": {"start_step": 1, "dynamic_decay": False},
    "dynamic": {"start_step": 1, "dynamic_decay": True},
}


def least_squares_gradients(kernel, bias, inputs, targets):
    """Gradients of mean((inputs @ kernel + bias - targets)^2); numpy, so that both Keras versions get the same ones."""
    scaled_errors = 2 * (inputs @ kernel + bias - targets) / np.float32(targets.size)
    return inputs.T @ scaled_errors, scaled_errors.sum(axis=0)


def netvlad_arrays(tf, rng):
    """Forward pass, regularization and gradients of sum(output * target); and one video cut to its first frames."""
    from tensorflow_addons.layers.netvlad import NetVLAD  # Addons does not list it in its layers

    layer = NetVLAD(num_clusters=NETVLAD_CLUSTERS)
    frames = rng.normal(size=(4, 7, 6)).astype(np.float32)
    layer(frames)  # creates the weights
    variables = {
        "cluster_centers": layer.cluster_centers,
        "kernel": layer.fc.kernel,
        "bias": layer.fc.bias,
    }
    for variable in variables.values():
        variable.assign(rng.normal(scale=0.7, size=variable.shape).astype(np.float32))
    target = rng.normal(size=(4, 6 * NETVLAD_CLUSTERS)).astype(np.float32)

    frames_tensor = tf.convert_to_tensor(frames)
    with tf.GradientTape() as tape:
        tape.watch(frames_tensor)
        output = layer(frames_tensor)
        objective = tf.reduce_sum(output * target)
    gradients = tape.gradient(objective, {"frames": frames_tensor, **variables})

    arrays = {
        "frames": frames,
        "target": target,
        "output": output,
        "regularization_loss": tf.add_n(layer.losses),
        "short_output": layer(frames_tensor[:1, :NETVLAD_SHORT_FRAMES]),
    }
    arrays |= {f"weight.{name}": variable for name, variable in variables.items()}
    arrays |= {f"gradient.{name}": gradient for name, gradient in gradients.items()}
    return {f"netvlad.{name}": value for name, value in arrays.items()}


def focal_arrays(tfa, rng):
    """SigmoidFocalCrossEntropy of each video, from probabilities and from logits."""
    labels = (rng.random(size=(6, 9)) < 0.3).astype(np.float32)
    inputs = {
        "probabilities": rng.uniform(0.02, 0.98, size=labels.shape).astype(np.float32),
        "logits": rng.uniform(-4, 4, size=labels.shape).astype(np.float32),
    }
    arrays = {"focal.labels": labels} | {f"focal.{name}": value for name, value in inputs.items()}
    for case, parameters in FOCAL_PARAMETERS.items():
        for name, predictions in inputs.items():
            loss = tfa.losses.SigmoidFocalCrossEntropy(from_logits=name == "logits", **parameters)
            arrays[f"focal.{case}.{name}"] = loss(labels, predictions)
    return arrays


def moving_average_arrays(tf, tfa, rng):
    """Weights and their moving averages after every step of SGD and Adam on a least-squares problem."""
    problem = {
        "inputs": rng.normal(size=(10, 3)).astype(np.float32),
        "targets": rng.normal(size=(10, 2)).astype(np.float32),
        "kernel": rng.normal(size=(3, 2)).astype(np.float32),
        "bias": rng.normal(size=2).astype(np.float32),
    }
    base_optimizers = {"sgd": tf.keras.optimizers.legacy.SGD, "adam": tf.keras.optimizers.legacy.Adam}
    arrays = {f"average.{name}": value for name, value in problem.items()}
    for optimizer_name, base_optimizer in base_optimizers.items():
        for case, parameters in AVERAGE_PARAMETERS.items():
            optimizer = tfa.optimizers.MovingAverage(
                base_optimizer(LEARNING_RATES[optimizer_name]), average_decay=AVERAGE_DECAY, **parameters
            )
            steps = moving_average_steps(tf, optimizer, problem)
            arrays |= {f"average.{optimizer_name}.{case}.{name}": value for name, value in steps.items()}
    return arrays


def moving_average_steps(tf, optimizer, problem):
    """Arrays (steps, ...) of the weights and averages after each of OPTIMIZER_STEPS steps."""
    kernel, bias = tf.Variable(problem["kernel"]), tf.Variable(problem["bias"])
    steps = {"kernel": [], "bias": [], "kernel_average": [], "bias_average": []}
    for _ in range(OPTIMIZER_STEPS):
        gradients = least_squares_gradients(kernel.numpy(), bias.numpy(), problem["inputs"], problem["targets"])
        optimizer.apply_gradients(zip(map(tf.convert_to_tensor, gradients), (kernel, bias), strict=True))
        for name, variable in (("kernel", kernel), ("bias", bias)):
            steps[name].append(variable.numpy())
            steps[f"{name}_average"].append(optimizer.get_slot(variable, "average").numpy())
    return {name: np.stack(values) for name, values in steps.items()}


def compute_reference():
    """All arrays of the reference file."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Both announce on import that Addons has ended; requirements-addons.txt says so too.
    warnings.filterwarnings("ignore", category=UserWarning)
    import tensorflow as tf
    import tensorflow_addons as tfa

    tf.get_logger().setLevel("ERROR")  # the losses are traced once for every parameter, on purpose

    arrays = {
        "versions": np.array([f"tensorflow {tf.__version__}", f"tensorflow_addons {tfa.__version__}"]),
        **netvlad_arrays(tf, np.random.default_rng(1)),
        **focal_arrays(tfa, np.random.default_rng(2)),
        **moving_average_arrays(tf, tfa, np.random.default_rng(3)),
    }
    return {name: np.asarray(value) for name, value in arrays.items()}


def differences(stored, computed):
    """One sentence for every array that is missing, new or different."""
    sentences = [f"{name}: only in the stored file" for name in sorted(stored.keys() - computed.keys())]
    sentences += [f"{name}: not in the stored file" for name in sorted(computed.keys() - stored.keys())]
    for name in sorted(stored.keys() & computed.keys()):
        old, new = stored[name], computed[name]
        if old.shape != new.shape or old.dtype.kind != new.dtype.kind:
            sentences.append(f"{name}: {old.dtype}{old.shape} stored, {new.dtype}{new.shape} computed")
        elif old.dtype.kind != "f":
            if not np.array_equal(old, new):
                sentences.append(f"{name}: {old.tolist()} stored, {new.tolist()} computed")
        elif not np.allclose(new, old, rtol=RTOL, atol=ATOL):
            sentences.append(f"{name}: differs by up to {np.max(np.abs(new - old)):.3g}")
    return sentences


def main():
    """Writes the reference file, or compares with it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("output", nargs="?", help="the .npz file to write")
    target.add_argument("--compare", metavar="FILE", help="compute again and compare with this file")
    arguments = parser.parse_args()

    computed = compute_reference()
    if arguments.output:
        np.savez_compressed(arguments.output, **computed)
        print(f"wrote {len(computed)} arrays to {arguments.output}")
        return 0
    with np.load(arguments.compare) as stored:
        sentences = differences(dict(stored), computed)
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    print(f"{len(computed)} arrays computed again, {len(sentences)} differences from {arguments.compare}")
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
