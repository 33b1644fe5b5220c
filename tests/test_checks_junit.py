"""JUnit reports that untrusted code has written."""

import os
from pathlib import Path

import pytest

from delm_mcp.checks import junit
from delm_mcp.checks.junit import BadReport, parse_report, read_report


def report(body: str) -> bytes:
    head = '<?xml version="1.0" encoding="utf-8"?>'
    return f"{head}<testsuites><testsuite>{body}</testsuite></testsuites>".encode()


def test_each_outcome_is_read() -> None:
    data = report(
        '<properties><property name="x" value="y"/></properties>'
        '<testcase classname="t.test_a" name="test_1" time="0.1"/>'
        '<testcase classname="t.test_a" name="test_2[x]"><failure message="no">text</failure></testcase>'
        '<testcase classname="t.test_a" name="test_3"><error/><system-out>out</system-out></testcase>'
        '<testcase classname="t.test_a" name="test_4"><skipped type="pytest.xfail"/></testcase>'
        '<testcase classname="" name="t.test_b"><error message="collection failure"/></testcase>'
    )
    assert parse_report(data) == {
        "t.test_a::test_1": "passed",
        "t.test_a::test_2[x]": "failed",
        "t.test_a::test_3": "error",
        "t.test_a::test_4": "skipped",
        "t.test_b": "error",
    }
    assert parse_report(report("")) == {}
    assert parse_report(b'<testsuite><testcase name="a"/></testsuite>') == {"a": "passed"}


def test_the_worst_of_several_results_for_one_test_counts() -> None:
    case = '<testcase classname="t" name="a">{}</testcase>'
    for worse, better in [
        ("<failure/>", ""),
        ("<error/>", ""),
        ("<failure/>", "<error/>"),
        ("<skipped/>", ""),
    ]:
        word = {"<failure/>": "failed", "<error/>": "error", "<skipped/>": "skipped"}[worse]
        for first, second in [(worse, better), (better, worse)]:
            assert parse_report(report(case.format(first) + case.format(second))) == {"t::a": word}
    assert parse_report(report(case.format("<skipped/><failure/><system-err/>"))) == {"t::a": "failed"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not xml",
        b"\xff\xfe\x00",
        b"<testsuite>",
        b"<html></html>",
        b'<?xml version="1.0" encoding="klingon"?><testsuite/>',
        b'<!DOCTYPE a [<!ENTITY x "y">]><testsuite><testcase name="&x;"/></testsuite>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><testsuite/>',
        b'<testsuite><testcase name="&undefined;"/></testsuite>',
        b"<testsuite/>\x00",
    ],
)
def test_what_is_not_a_report_is_refused(data: bytes) -> None:
    with pytest.raises(BadReport):
        parse_report(data)


def test_entities_that_would_expand_without_end_are_never_expanded() -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    data = f'<!DOCTYPE t [<!ENTITY e0 "ha">{entities}]><testsuite><testcase name="&e11;"/></testsuite>'
    with pytest.raises(BadReport, match="document type"):
        parse_report(data.encode())


def test_reports_are_bounded_in_bytes_and_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    many = report("".join(f'<testcase name="t{n}"/>' for n in range(20)))
    monkeypatch.setattr(junit, "TESTS_MAX", 10)
    with pytest.raises(BadReport, match="more than 10 tests"):
        parse_report(many)
    monkeypatch.setattr(junit, "REPORT_BYTES_MAX", 100)
    with pytest.raises(BadReport, match="more than 100 bytes"):
        parse_report(many)


def test_deep_nesting_is_no_problem() -> None:
    deep = "<a>" * 50_000 + "</a>" * 50_000
    assert parse_report(report(f'<testcase name="t">{deep}</testcase>')) == {"t": "passed"}


def test_ids_are_one_printable_line_and_long_ones_stay_distinct() -> None:
    one, two = "x" * 5_000 + "1", "x" * 5_000 + "2"
    data = report(
        f'<testcase name="a&#10;b&#x202e;c"/><testcase name="{one}"/>'
        f'<testcase name="{two}"><failure/></testcase>'
    )
    outcomes = parse_report(data)
    assert sorted(outcomes.values()) == ["failed", "passed", "passed"]
    assert "a\ufffdb\ufffdc" in outcomes
    assert all(len(test) <= 400 and test.isprintable() for test in outcomes)


def test_a_report_is_read_from_a_plain_file_only(tmp_path: Path) -> None:
    good = tmp_path / "good.xml"
    good.write_bytes(report('<testcase name="a"/>'))
    assert read_report(good) == {"a": "passed"}

    link, pipe, folder = tmp_path / "link", tmp_path / "pipe", tmp_path / "folder"
    link.symlink_to(good)
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (link, pipe, folder, tmp_path / "missing"):
        with pytest.raises(BadReport):
            read_report(path)
