"""The mains of the scripts: flags -> configuration -> one run_* call. TensorFlow is imported only after the flags."""

import logging
import os
import sys
from collections.abc import Callable, Sequence

from yt8m_distill.cli import flags
from yt8m_distill.errors import Interrupted, LostWorker, TooManyBadRecords, UserError


def train_main(argv: Sequence[str] | None = None) -> int:
    """train.py; returns the exit code."""
    return _main(flags.train_flags(), _train, argv)


def eval_main(argv: Sequence[str] | None = None) -> int:
    """eval.py; returns the exit code."""
    return _main(flags.eval_flags(), _evaluate, argv)


def inference_main(argv: Sequence[str] | None = None) -> int:
    """inference.py; returns the exit code."""
    return _main(flags.inference_flags(), _predict, argv)


def export_main(argv: Sequence[str] | None = None) -> int:
    """python -m yt8m_distill.export; returns the exit code."""
    return _main(flags.export_flags(), _export, argv)


def serve_main(argv: Sequence[str] | None = None) -> int:
    """python -m yt8m_distill.serve; returns the exit code."""
    return _main(flags.serve_flags(), _serve, argv)


def beam_main(argv: Sequence[str] | None = None) -> int:
    """python -m yt8m_distill.beam_inference; returns the exit code."""
    return _main(flags.beam_flags(), _predict_with_beam, argv)


def merge_main(argv: Sequence[str] | None = None) -> int:
    """python -m yt8m_distill.merge_predictions; returns the exit code."""
    return _main(flags.merge_flags(), _merge, argv)


def segment_eval_main(argv: Sequence[str] | None = None) -> int:
    """python -m yt8m_distill.segment_eval; returns the exit code."""
    return _main(flags.segment_eval_flags(), _evaluate_segments, argv)


def verify_main(argv: Sequence[str] | None = None) -> int:
    """python -m yt8m_distill.verify; returns the exit code."""
    return _main(flags.verify_flags(), _verify, argv)


def thin_main(argv: Sequence[str] | None = None) -> int:
    """python -m yt8m_distill.thin; returns the exit code."""
    return _main(flags.thin_flags(), _thin, argv)


def flops_main(argv: Sequence[str] | None = None) -> int:
    """python -m yt8m_distill.flops; returns the exit code."""
    return _main(flags.flops_flags(), _count, argv)


def conversion_main(argv: Sequence[str] | None = None) -> int:
    """python -m yt8m_distill.convert_checkpoint; returns the exit code."""
    return _main(flags.conversion_flags(), _convert, argv)


def experiment_main(argv: Sequence[str] | None = None) -> int:
    """python -m yt8m_distill.experiment; returns the exit code."""
    return _main(flags.experiment_flags(), _experiment, argv)


def _main(
    values: flags.FlagValues, command: Callable[[flags.FlagValues], int | None], argv: Sequence[str] | None
) -> int:
    """Runs a command; what a user can put right ends in one sentence, without a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what matters comes as an exception
    _log_to_stderr()
    try:
        if flags.parse(values, sys.argv if argv is None else argv):
            return command(values) or 0
        return 0
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except (Interrupted, LostWorker, TooManyBadRecords, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 1


def _log_to_stderr():
    """The package's log as plain lines; other libraries keep theirs."""
    package = logging.getLogger("yt8m_distill")
    for earlier in [each for each in package.handlers if each.get_name() == __name__]:
        package.removeHandler(earlier)  # of an earlier call in this process, whose stderr may be closed
    if not package.handlers:
        handler = logging.StreamHandler()
        handler.set_name(__name__)
        handler.setFormatter(logging.Formatter("%(message)s"))
        package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False


def _train(values: flags.FlagValues):
    config = flags.train_config_from_flags(values)
    from yt8m_distill.training.run import run_training

    report = run_training(config, values.start_new_model)
    if report is None:
        print("This worker is done; the first one has written the results.")
        return
    print(f"\n{report.table()}\n\nThe run is in {report.train_dir}. Next:\n{report.next_commands()}")


def _evaluate(values: flags.FlagValues):
    config = flags.eval_config_from_flags(values)
    from yt8m_distill.evaluation.run import run_evaluation

    run_evaluation(config)


def _predict(values: flags.FlagValues):
    config = flags.inference_config_from_flags(values)
    from yt8m_distill.prediction.run import run_inference

    run_inference(config)


def _export(values: flags.FlagValues):
    config = flags.export_config_from_flags(values)
    from yt8m_distill.deployment.export import run_export

    run_export(config)


def _serve(values: flags.FlagValues):
    config = flags.serve_config_from_flags(values)
    from yt8m_distill.serving.server import run_service

    run_service(config)


def _predict_with_beam(values: flags.FlagValues):
    config = flags.beam_config_from_flags(values)
    try:
        from yt8m_distill.prediction.beam import run_beam_inference
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise UserError("apache-beam is not installed; pip install 'yt8m_distill[beam]' brings it.") from error
    run_beam_inference(config)


def _merge(values: flags.FlagValues):
    config = flags.merge_config_from_flags(values)
    from yt8m_distill.prediction.parts import run_merging

    run_merging(config)


def _evaluate_segments(values: flags.FlagValues):
    config = flags.segment_eval_config_from_flags(values)
    from yt8m_distill.evaluation.segments import run_segment_evaluation

    run_segment_evaluation(config)


def _verify(values: flags.FlagValues) -> int:
    config = flags.verify_config_from_flags(values)
    from yt8m_distill.data.verification import run_verification

    return 0 if run_verification(config) else 1


def _thin(values: flags.FlagValues):
    config = flags.thin_config_from_flags(values)
    from yt8m_distill.data.thinning import run_thinning

    run_thinning(config)


def _count(values: flags.FlagValues):
    config = flags.flops_config_from_flags(values)
    from yt8m_distill.evaluation.compute_table import run_flops

    run_flops(config)


def _convert(values: flags.FlagValues) -> int:
    config = flags.conversion_config_from_flags(values)
    from yt8m_distill.tf1.conversion import run_conversion

    return 0 if run_conversion(config) else 1


def _experiment(values: flags.FlagValues):
    config = flags.experiment_config_from_flags(values)
    from yt8m_distill.experiments.runner import run_experiment

    folder = run_experiment(config)
    print(f"\n{(folder / 'results.md').read_text(encoding='utf-8')}\nTables and figures are in {folder}")
