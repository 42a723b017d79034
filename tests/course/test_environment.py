"""The self-check of lesson 00: what it says of this machine, and of one that lacks things."""

from importlib import metadata

from packaging.requirements import Requirement

from minimistral.course import environment


def test_this_machine_can_run_the_course():
    findings = environment.report()
    assert all(finding.ok is not False for finding in findings), [str(f) for f in findings]
    names = [finding.name for finding in findings]
    assert names[0] == "Python" and names[-2:] == ["tokenizer v1", "GPU"]
    assert {"numpy", "torch", "jupyterlab", "anywidget"} <= set(names)


def test_a_missing_or_old_package_says_how_to_fix_it():
    missing = environment.package(Requirement("no-such-package>=1"))
    assert str(missing) == (
        '✗ no-such-package: not installed\n  To fix it: python -m pip install "no-such-package>=1"'
    )
    old = environment.package(Requirement("numpy>=99"))
    assert old.ok is False and metadata.version("numpy") in old.result and ">=99" in old.result


def test_what_can_be_done_without_is_not_an_error(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert environment.report()[-1].ok is None


def test_a_tokenizer_that_does_not_open_is_reported(monkeypatch):
    from minimistral import tokenizer

    def broken(_version):
        raise OSError("truncated file")

    monkeypatch.setattr(tokenizer, "load", broken)
    finding = environment.report()[-2]
    assert finding.ok is False and "truncated file" in str(finding) and "To fix it" in str(finding)
