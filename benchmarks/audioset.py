"""Teacher, uniform baselines and students on AudioSet's released features, as a table of mAP_full and GAP@20.

    python benchmarks/audioset.py --audioset=$AUDIOSET --model=NeXtVLAD --seeds=0,1,2

About 15 minutes a seed on two cores. AUDIOSET is a folder with train*.tfrecord (the balanced training set, 22,160
clips) and validate*.tfrecord. Every model is trained for 10 epochs and evaluated after the last one.
"""

import argparse
import pathlib

from gap_runs import print_table, runs_of_seed

from yt8m_distill.config.training import Learning, TrainConfig

MODEL_ARGS = {
    "NeXtVLAD": {"clusters": 32, "groups": 4, "hidden_size": 512},
    "NetVLAD": {"clusters": 32, "hidden_size": 512},
    "HierarchicalRNN": {"cells": 256},
}
LEARNING_RATES = {"NeXtVLAD": 0.0003, "NetVLAD": 0.0002, "HierarchicalRNN": 0.001}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audioset", required=True)
    parser.add_argument("--model", default="NeXtVLAD", choices=MODEL_ARGS)
    parser.add_argument("--frames", default="1,2,3,5")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--num_epochs", type=int, default=10)
    parser.add_argument("--output_dir", default="runs/audioset")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    frames = [int(k) for k in arguments.frames.split(",")]
    results = []
    for seed in map(int, arguments.seeds.split(",")):
        base = TrainConfig(
            arguments.model,
            training_mode="teacher",
            model_args=MODEL_ARGS[arguments.model],
            train_data_pattern=f"{arguments.audioset}/train*",
            learning=Learning(
                num_epochs=arguments.num_epochs, base_learning_rate=LEARNING_RATES[arguments.model], seed=seed
            ),
        )
        folder = pathlib.Path(arguments.output_dir) / arguments.model / f"seed{seed}"
        pattern = f"{arguments.audioset}/validate*"
        results.append(runs_of_seed(base, frames, folder, eval_data_pattern=pattern, full_map=True))
    print_table(f"{arguments.model} on AudioSet", results, frames, ("mAP_full", "GAP@20"))


if __name__ == "__main__":
    main()
