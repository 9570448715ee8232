"""How long do the scripts take before they do anything?

    python benchmarks/startup.py                                         # about a minute

Each is a process of its own: `train.py --help`, `eval.py` with a small model on a few small videos, and `inference.py`
with a model of full size (89 million weights, unless --model_args makes it smaller) on as many, from start to end.
Beside them, what they cannot do without: Python itself, and importing TensorFlow. To expect: the help in less than a
second, without TensorFlow; the others in less than 10 seconds.
Measured (2 idle cores of a server with AVX-512):

|                               | s    |
|-------------------------------|------|
| python -c pass                | 0.03 |
| train.py --help               | 0.16 |
| python -c 'import tensorflow' | 2.50 |
| eval.py, 100 videos           | 3.50 |
| inference.py, 100 videos      | 4.75 |
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from measuring import (
    full_size_videos,
    measure_in_turn,
    nextvlad_args,
    print_machine,
    print_table,
    run_config,
    write_run,
)

ROOT = pathlib.Path(__file__).parents[1]
SMALL_MODEL = {"clusters": 8, "groups": 4, "hidden_size": 64}
FRAMES = 20


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        videos = full_size_videos(folder, arguments.videos, FRAMES, times=1)
        write_run(folder / "run", run_config(SMALL_MODEL, FRAMES))
        write_run(folder / "full", run_config(nextvlad_args(arguments.model_args), FRAMES))
        evaluation = (f"--train_dir={folder}/run", f"--eval_data_pattern={videos.files[0]}")
        inference = (f"--train_dir={folder}/full", f"--input_data_pattern={videos.files[0]}")
        output = (f"--output_file={folder}/predictions.csv",)
        tasks = {
            "python -c pass": process("-c", "pass"),
            "train.py --help": process(str(ROOT / "train.py"), "--help"),
            "python -c 'import tensorflow'": process("-c", "import tensorflow"),
            f"eval.py, {arguments.videos} videos": process(str(ROOT / "eval.py"), *evaluation),
            f"inference.py, {arguments.videos} videos": process(str(ROOT / "inference.py"), *inference, *output),
        }
        measured = measure_in_turn(tasks, arguments.repetitions)
    print_table(("", "s"), [(name, f"{each.median:.2f}") for name, each in measured.items()])


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--model_args", default="", help="of inference.py's NeXtVLAD, for a smaller model")
    return parser.parse_args(argv)


def process(*arguments: str) -> Callable[[], float]:
    """Runs this Python with the arguments, once a call."""

    def run() -> int:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        return 1

    return run


if __name__ == "__main__":
    main()
