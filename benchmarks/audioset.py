"""Teacher, uniform baselines and students on AudioSet's released features, as a table of mAP_full and GAP@20.

    python benchmarks/audioset.py --audioset=$AUDIOSET --model=NeXtVLAD --seeds=0,1,2

About 25 minutes a seed on two cores. AUDIOSET is a folder with train*.tfrecord (the balanced training set, 22,160
clips) and validate*.tfrecord. Every model is trained for 10 epochs and evaluated after the last one. Runs are kept in
--output_dir: finished ones are not repeated, a stopped benchmark goes on.
"""

import argparse
import dataclasses
import pathlib
import statistics

from yt8m_distill.config import Distillation, EvalConfig, FrameSelection, Learning, TrainConfig
from yt8m_distill.evaluation import run_evaluation
from yt8m_distill.run_dir import RunDir, read_json
from yt8m_distill.training import run_training

MODEL_ARGS = {
    "NeXtVLAD": {"clusters": 32, "groups": 4, "hidden_size": 512},
    "NetVLAD": {"clusters": 32, "hidden_size": 512},
    "HierarchicalRNN": {"cells": 256},
}
LEARNING_RATES = {"NeXtVLAD": 0.0005, "NetVLAD": 0.0005, "HierarchicalRNN": 0.001}
METRICS = ("mAP_full", "GAP@20")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audioset", required=True)
    parser.add_argument("--model", default="NeXtVLAD", choices=MODEL_ARGS)
    parser.add_argument("--frames", default="1,2,3,5")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--num_epochs", type=int, default=10)
    parser.add_argument("--output_dir", default="runs/audioset")
    return parser.parse_args()


def measured(config: TrainConfig, pattern: str) -> dict[str, float]:
    """Trains one run, or takes it as it is, and returns its metrics."""
    run_training(config)
    metrics_file = RunDir(config.train_dir).metrics_file("own")
    if metrics_file.exists():
        return read_json(metrics_file)
    return run_evaluation(EvalConfig(config.train_dir, pattern, full_map=True))


def runs_of_seed(arguments: argparse.Namespace, seed: int) -> dict[tuple[str, str], dict[str, float]]:
    """Metrics by (role, frames) of all runs with one seed."""
    folder = pathlib.Path(arguments.output_dir) / arguments.model / f"seed{seed}"
    evaluated = f"{arguments.audioset}/validate*"
    base = TrainConfig(
        arguments.model,
        training_mode="teacher",
        model_args=MODEL_ARGS[arguments.model],
        train_data_pattern=f"{arguments.audioset}/train*",
        train_dir=str(folder / "teacher"),
        learning=Learning(
            num_epochs=arguments.num_epochs, base_learning_rate=LEARNING_RATES[arguments.model], seed=seed
        ),
    )
    results = {("teacher", "10"): measured(base, evaluated)}
    for k in arguments.frames.split(","):
        selection = FrameSelection(int(k))
        uniform = dataclasses.replace(
            base, training_mode="baseline", selection=selection, train_dir=str(folder / f"uniform{k}")
        )
        student = dataclasses.replace(
            base,
            training_mode="serial",
            selection=selection,
            distillation=Distillation(),
            teacher_dir=base.train_dir,
            train_dir=str(folder / f"student{k}"),
        )
        results["uniform", k] = measured(uniform, evaluated)
        results["student", k] = measured(student, evaluated)
    return results


def cell(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def gap_closed(results: list[dict], k: str, metric: str) -> float:
    """(student - uniform) / (teacher - uniform), of the means over seeds."""
    teacher, uniform, student = (
        statistics.mean(result[key][metric] for result in results)
        for key in (("teacher", "10"), ("uniform", k), ("student", k))
    )
    return (student - uniform) / (teacher - uniform)


def print_table(arguments: argparse.Namespace, results: list[dict]):
    print(f"\n{arguments.model}, {len(results)} seed(s), mAP_full / GAP@20\n")
    print("| frames | uniform | student | gap closed |\n|---|---|---|---|")
    for k in arguments.frames.split(","):
        cells = [
            " / ".join(cell([result[role, k][metric] for result in results]) for metric in METRICS)
            for role in ("uniform", "student")
        ]
        closed = " / ".join(f"{100 * gap_closed(results, k, metric):.0f} %" for metric in METRICS)
        print(f"| {k} | {cells[0]} | {cells[1]} | {closed} |")
    teacher = " / ".join(cell([result["teacher", "10"][metric] for result in results]) for metric in METRICS)
    print(f"| 10 | teacher: {teacher} | | |")


def main():
    arguments = parse_arguments()
    results = [runs_of_seed(arguments, int(seed)) for seed in arguments.seeds.split(",")]
    print_table(arguments, results)


if __name__ == "__main__":
    main()
