"""What exports compute, and the numbers of frames that their clients may choose among."""

import dataclasses
import json
import types

import pytest

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation
from yt8m_distill.deployment.costs import costs_of, reference_of, trained_numbers
from yt8m_distill.deployment.exported_model import Network
from yt8m_distill.deployment.manifest import Cost, Manifest, read_manifest, write_manifest
from yt8m_distill.errors import UserError
from yt8m_distill.models import NetVLAD, cost

SPEC = DatasetSpec("mine", "id", ("rgb",), (6,), num_classes=5, max_frames=12)
MODEL = NetVLAD((6,), 5, clusters=2, hidden_size=4)


def trained(selection: FrameSelection, role: str = "student"):
    config = RunConfig("NetVLAD", "serial", selection=selection, distillation=Distillation(), data=SPEC)
    return types.SimpleNamespace(role=role, config=config, model=MODEL)


def macs(frames: int) -> int:
    return cost.multiply_accumulates(MODEL, frames)[0]


def test_a_student_for_several_numbers_of_frames(tmp_path):
    student = trained(FrameSelection(6, sampling="jittered", drawn_from=(1, 3, 6)))
    network = Network(MODEL, SPEC, FrameSelection(6))
    numbers = trained_numbers(student, network)
    assert numbers == (1, 3, 6)
    assert costs_of(student, network, numbers) == tuple(Cost("student", k, macs(k)) for k in numbers)
    assert trained_numbers(student, Network(MODEL, SPEC, FrameSelection(3))) == (1, 3)
    assert trained_numbers(student, Network(MODEL, SPEC, FrameSelection(1))) == ()
    assert trained_numbers(student, Network(MODEL, SPEC, FrameSelection(3, sampling="medoid"))) == ()
    assert reference_of(student, network, numbers, str(tmp_path)) == Cost("student", 12, macs(12))


def test_the_teacher_is_that_of_the_table_of_the_run(tmp_path):
    student, network = trained(FrameSelection(3)), Network(MODEL, SPEC, FrameSelection(3))
    rows = [{"role": "teacher", "frames": 12, "multiply_accumulates": 99}, {"role": "student", "frames": 3}]
    (tmp_path / "report.json").write_text(json.dumps({"rows": rows}))
    assert reference_of(student, network, (), str(tmp_path)) == Cost("teacher", 12, 99)
    assert costs_of(student, network, ()) == (Cost("student", 3, macs(3)),)
    for broken in ("[]", '{"rows": 3}', '{"rows": [{"role": "teacher", "frames": "a"}]}', "{"):
        (tmp_path / "report.json").write_text(broken)
        assert reference_of(student, network, (), str(tmp_path)) == Cost("student", 12, macs(12))


def test_what_sees_all_frames_is_compared_with_nothing(tmp_path):
    teacher = trained(FrameSelection(3), role="teacher")
    network = Network(MODEL, SPEC, ALL_FRAMES)
    assert (trained_numbers(teacher, network), reference_of(teacher, network, (), str(tmp_path))) == ((), None)
    assert costs_of(teacher, network, ()) == (Cost("teacher", 12, macs(12)),)
    unlimited = Network(MODEL, dataclasses.replace(SPEC, max_frames=0), ALL_FRAMES)
    assert costs_of(teacher, unlimited, ()) == ()


def test_choosing_by_features_counts():
    network = Network(MODEL, SPEC, FrameSelection(3, sampling="medoid"))
    (found,) = costs_of(trained(FrameSelection(3)), network, ())
    assert found.multiply_accumulates == macs(3) + cost.choosing_products("medoid", (6,), 12, 3) > macs(3)


@pytest.mark.parametrize("numbers", [(3, 1), (1, 2), (0, 3), (1, 1, 3), (1, 3, 4)])
def test_numbers_of_a_manifest_are_checked(tmp_path, numbers):
    good = Manifest("NetVLAD", "student", None, SPEC, FrameSelection(3), 3, 2, None, (), numbers=(1, 3))
    write_manifest(good, tmp_path)
    assert read_manifest(tmp_path) == good
    write_manifest(dataclasses.replace(good, numbers=numbers), tmp_path)
    with pytest.raises(UserError, match="numbers must be ascending"):
        read_manifest(tmp_path)
