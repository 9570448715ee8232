"""Teacher, uniform baselines and students on the sample data set, every model, as tables of GAP@20 and mAP.

    python benchmarks/sample_gap.py --seeds=3

About 10 minutes a model and seed on two cores. The last line of each table says whether the student is above the
uniform baseline by more than twice the standard deviation over seeds, and whether the teacher leads.
"""

import argparse
import pathlib
import statistics

from gap_runs import Results, print_table, runs_of_seed

from yt8m_distill.config.training import Learning, TrainConfig

MODELS = ("NeXtVLAD", "NetVLAD", "HierarchicalRNN")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--frames", default="30,10")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output_dir", default="runs/sample_gap")
    return parser.parse_args()


def verdict(results: list[Results], k: int) -> str:
    """How far the student is above the baseline, in standard deviations over seeds (the larger one's)."""
    scores = {role: [result[role, k]["GAP@20"] for result in results] for role in ("uniform", "student")}
    lead = statistics.mean(scores["student"]) - statistics.mean(scores["uniform"])
    teacher = statistics.mean(result["teacher", 0]["GAP@20"] for result in results)
    leads = "leads" if teacher > statistics.mean(scores["student"]) else "does not lead"
    if len(results) < 2:
        return f"k = {k}: student - uniform {lead:+.3f}; the teacher {leads}"
    deviation = max(statistics.stdev(values) for values in scores.values())
    clear = "above" if lead > 2 * deviation else "not above"
    return f"k = {k}: student - uniform {lead:+.3f}, {clear} twice the deviation {deviation:.3f}; the teacher {leads}"


def main():
    arguments = parse_arguments()
    frames = [int(k) for k in arguments.frames.split(",")]
    for model in arguments.models.split(","):
        results = []
        for seed in range(arguments.seeds):
            base = TrainConfig(model, training_mode="teacher", learning=Learning(seed=seed))
            folder = pathlib.Path(arguments.output_dir) / model / f"seed{seed}"
            results.append(runs_of_seed(base, frames, folder, eval_data_pattern=None, full_map=False))
        print_table(f"{model} on the sample data", results, frames, ("GAP@20", "mAP"))
        print("\n".join(["", *(verdict(results, k) for k in frames)]), flush=True)


if __name__ == "__main__":
    main()
