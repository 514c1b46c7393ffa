import dataclasses
import importlib.util
import subprocess
import sys
import time

import numpy as np
import pytest

from fdsl_gpu import datasets, doctor
from fdsl_gpu.cores import num_cores
from fdsl_gpu.datasets import DatasetSpec
from fdsl_gpu.doctor import BackendCheck, DoctorConfig, DoctorReport, check_backend
from fdsl_gpu.formulas.ifs import IfsFormula


@pytest.fixture
def small(small_ifs):
    return DatasetSpec("small", 1, small_ifs)


FIELDS = dataclasses.fields(IfsFormula)


def drawn_by(small, draw_numba):
    """The small data set with another Numba drawing."""
    fields = {field.name: getattr(small.formula, field.name) for field in FIELDS}
    formula = type("Changed", (IfsFormula,), {"draw_numba": draw_numba})(**fields)
    return dataclasses.replace(small, formula=formula)


@pytest.mark.parametrize("backend, result", [("numpy", "the definition"), ("numba", "equal")])
def test_a_right_backend_passes(small, backend, result):
    assert check_backend(small, backend, "cpu") == BackendCheck(
        "small", backend, "cpu", passed=True, result=result
    )


def test_one_wrong_value_is_found_and_placed(small):
    def draw(self, instance, images):
        self.draw_numpy(instance, images)
        if instance.image_size == 64:
            images[1, 2, 5, 7] ^= 1

    check = check_backend(drawn_by(small, draw), "numba", "cpu")
    assert check.passed is False
    assert check.result == (
        f"DIFFERENT: 1 of {2 * 3 * 64 * 64} values at 64 pixels, first in sample {2**33 + 1}, "
        "channel 2, row 5, column 7"
    )


def test_a_backend_that_breaks_off_is_reported(small):
    def draw(self, instance, images):
        raise KeyError("no such symbol\nand more")

    check = check_backend(drawn_by(small, draw), "numba", "cpu")
    assert check.passed is False
    assert check.result.startswith("FAILED: KeyError: ") and "\n" not in check.result


def test_a_device_that_is_not_here_is_no_failure(small, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    check = check_backend(small, "triton", "cuda")
    assert check.passed is None
    assert "not available: device 'cuda' needs a GPU" in check.result


def test_variants_of_a_formula_come_after_every_formula(small):
    other = drawn_by(small, None)
    order = doctor._each_formula_first({"a1": small, "a2": small, "a3": small, "b1": other})
    assert list(order) == ["a1", "b1", "a2", "a3"]


def test_report_can_be_read_and_says_what_failed():
    checks = (
        BackendCheck("a", "numpy", "cpu", passed=True, result="the definition", rate_img_s=1234.5),
        BackendCheck("a", "triton", "cuda", passed=None, result="not available: no GPU"),
    )
    report = DoctorReport({"numpy": "2"}, {"cpu": "fast"}, {"OMP_NUM_THREADS": "1"}, checks, 224)
    assert report.ok
    assert str(report).splitlines() == [
        "numpy  2",
        "",
        "cpu  fast",
        "",
        "OMP_NUM_THREADS  1",
        "",
        "data set  backend  device  images/s  pixels",
        "a         numpy    cpu     1,234     the definition",
        "a         triton   cuda    -         not available: no GPU",
        "",
        "images/s at 224 pixels; 1 of 2 checks passed, 1 not made",
    ]
    wrong = dataclasses.replace(checks[1], passed=False)
    failed = dataclasses.replace(report, checks=(checks[0], wrong))
    assert not failed.ok
    assert str(failed).endswith("1 of 2 checks passed, 1 FAILED: please report it with this text")


def with_little_time_for_rates(checks, datasets, image_size, deadline):
    return WITH_RATES(checks, datasets, image_size, time.monotonic() + 0.3)


WITH_RATES = doctor._with_rates


def test_without_time_nothing_is_checked_and_that_is_said(small_ifs, monkeypatch):
    monkeypatch.setattr(datasets, "CATALOG", {"small": (1, lambda: small_ifs)})
    monkeypatch.setattr(doctor, "check_backend", lambda *_: pytest.fail("checked"))
    report = doctor.doctor(DoctorConfig(seconds=1e-9))
    assert {check.result for check in report.checks} == {"not checked: out of time"}
    assert str(report).endswith(
        "not made. For more time raise --seconds, or repeat: a first run compiles."
    )
    assert [check.rate_img_s for check in report.checks] == [None] * len(report.checks)


def test_the_whole_report(monkeypatch):
    monkeypatch.setattr(doctor, "CHECK_SHARE", 0.999)
    monkeypatch.setattr(doctor, "_with_rates", with_little_time_for_rates)
    # no more than it needs is used, and others may keep the cores busy
    report = doctor.doctor(DoctorConfig(("fractaldb-1k",), image_size=32, seconds=60))
    assert report.ok
    assert [check.backend for check in report.checks] == ["numpy", "numba", "triton"]
    rates = [check.rate_img_s for check in report.checks[:2]]
    assert rates[1] > rates[0] > 0
    triton = report.checks[2]
    assert triton.passed is (True if importlib.util.find_spec("triton") else None), triton.result
    assert set(report.versions) == {
        "python",
        "fdsl_gpu",
        "torch",
        "torchvision",
        "triton",
        "numba",
        "numpy",
        "timm",
    }
    assert report.versions["numpy"] == np.__version__
    assert f"{num_cores()} core" in report.devices["cpu"]


def stopped(code):
    """A process in place of the interpreter's."""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_an_interpreter_that_dies_is_reported():
    process = stopped("import sys; sys.exit('triton: wrong version')")
    (check,) = doctor._finish_interpreter(process, ("a",), time.monotonic() + 30)
    assert check.passed is None
    assert check.result == "not available: triton: wrong version"


def test_an_interpreter_that_takes_too_long_is_ended():
    process = stopped("import time; time.sleep(60)")
    (check,) = doctor._finish_interpreter(process, ("a",), time.monotonic())
    assert check.passed is None and "out of time" in check.result
    assert process.poll() is not None


@pytest.mark.parametrize(
    "config, message",
    [
        (DoctorConfig(("fractaldb-1q",)), "did you mean 'fractaldb-1k'"),
        (DoctorConfig(image_size=2), "image_size must be in"),
        (DoctorConfig(seconds=0), "seconds must be positive"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(monkeypatch, small_ifs, config, message):
    monkeypatch.setattr(doctor, "_start_interpreter", lambda _: pytest.fail("started"))
    monkeypatch.setattr(datasets, "CATALOG", {"fractaldb-1k": (1, lambda: small_ifs)})
    with pytest.raises(ValueError, match=message):
        doctor.doctor(config)
