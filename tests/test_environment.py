"""The recorded facts about a run's machine."""

import platform

from engine.storage import environment

CORE = "processor\t: {core}\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: Some Name\n"


def test_processors_of_one_name_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
    usual = platform.processor() or platform.machine()
    assert environment.processor_name() == usual  # no such file
    for text, name in (
        (CORE.format(core=0) + "\n" + CORE.format(core=1), "Some Name, family 26, model 2"),
        (CORE.format(core=0) + "flags : fma avx512f\n", "Some Name, family 26, model 2, AVX-512"),
        ("model name\t: Some Name\n", "Some Name"),
        ("BogoMIPS\t: 48.00\n", usual),
    ):
        environment.CPUINFO.write_text(text)
        assert environment.processor_name() == name
