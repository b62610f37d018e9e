#!/usr/bin/env python3
"""Puts a GPU report together and judges it; tests/gpu/run.sh is what to call.

usage: report.py part NAME EXIT_CODE SECONDS SOURCES RESULTS   describes the run that has just ended, RESULTS/NAME.json
       report.py join CASES NAME...                            the cases of several runs, NAME-cases.json, in one file
       report.py merge BUILD_JSON RESULTS OUTPUT PART...       writes the report; exits with 1 when something failed
                                                               or one of these parts is missing
       report.py facts                                         prints what nvidia-smi says of the GPU
       report.py check REPORT SOURCES                          exits with 1 unless REPORT passes and is of SOURCES
"""
import json
import pathlib
import re
import subprocess
import sys
import time

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
REMEDY = "run tests/gpu/package.sh here and tests/gpu/run.sh on a GPU, commit the report"
FACTS = (
    "name driver_version memory.total compute_cap clocks.sm clocks.max.sm clocks.mem clocks.max.mem power.limit "
    "mig.mode.current ecc.mode.current"
).split()


def read(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def write(path, value):
    pathlib.Path(path).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_if_whole(path):
    """None where the run ended before it wrote its report."""
    try:
        return read(path)
    except (OSError, ValueError):
        return None


def nvidia_smi():
    query = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(FACTS)}", "--format=csv,noheader"]
    try:
        out = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return {"unavailable": f"{error}"}
    return dict(zip(FACTS, (value.strip() for value in out.strip().split(","))))


def facts():
    print(json.dumps(nvidia_smi()))


def part(name, code, seconds, sources, results):
    folder = pathlib.Path(results)
    log = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    summary = [line.strip("= \n") for line in log.splitlines() if re.search(r"SUMMARY:", line)]
    cases = read_if_whole(folder / f"{name}-cases.json")
    write(
        folder / f"{name}.json",
        {
            "part": name,
            "exit_code": int(code),
            "seconds": int(seconds),
            "sources": sources,
            "cases": len(cases["cases"]) if cases else 0,
            "failed": cases["failed"] if cases else None,
            "summary": summary,
            "gpu": nvidia_smi(),
            "unix_time": int(time.time()),
        },
    )


def join(output, *names):
    found = [read_if_whole(f"{name}-cases.json") for name in names]
    if any(cases is None for cases in found):
        sys.exit("error: a group of cases ended before it wrote its report")
    cases = [case for group in found for case in group["cases"]]
    write(output, {"cases": cases, "failed": sum(group["failed"] for group in found)})


def reported_errors(line):
    """Errors, and for racecheck hazards, that a summary line tells of; warnings among the hazards count."""
    return sum(int(number) for number in re.findall(r"(\d+) (?:errors?|hazards?)\b", line))


def suite_problem(report):
    cases, suite = report.get("cases") or [], report.get("suite") or {}
    bad = [case["case"] for case in cases if not case.get("passed")]
    if not cases:
        return "the suite has no cases: it was not run, or ended early"
    if bad or report.get("failed"):
        return f"{max(len(bad), report.get('failed') or 0)} cases failed: {', '.join(bad[:5])}"
    if suite.get("exit_code") != 0:
        return f"the suite ended with exit code {suite.get('exit_code')}"
    return None


def checker_problem(tool, one):
    if one is None:
        return f"{tool} was not run"
    summary = "; ".join(one["summary"]) or "no summary"
    if one.get("failed"):
        return f"{one['failed']} cases failed under {tool}: {summary}"
    if one["exit_code"] != 0 or any(map(reported_errors, one["summary"])):
        return f"{tool} is not clean: exit code {one['exit_code']}, {summary}"
    if not one["cases"] or not one["summary"]:
        return f"{tool} says nothing of what it checked: {one['cases']} cases, {summary}"
    return None


def problems(report):
    """{part: why it does not pass}."""
    checked = {one["part"]: one for one in report.get("sanitizers") or []}
    found = {"suite": suite_problem(report)}
    found |= {tool: checker_problem(tool, checked.get(tool)) for tool in TOOLS}
    return {name: problem for name, problem in found.items() if problem}


def merge(build_path, results, output, *wanted):
    build, folder = read(build_path), pathlib.Path(results)
    parts = [read_if_whole(folder / f"{name}.json") for name in ("suite", *TOOLS)]
    parts = [one for one in parts if one]
    for one in parts:
        if one["sources"] != build["sources"]:
            sys.exit(f"error: {folder}/{one['part']}.json is of other sources than {build_path}: run that part again")
    suite = next((one for one in parts if one["part"] == "suite"), None)
    cases = (suite and read_if_whole(folder / "suite-cases.json")) or {}
    if suite:
        gpu = suite["gpu"]
    else:
        gpu = parts[0]["gpu"] if parts else nvidia_smi()
    report = {
        "sources": build["sources"],
        "build": build,
        "gpu": gpu,
        **{key: cases.get(key) for key in ("device", "compute_capability", "driver", "frames", "failed")},
        "suite": suite and {key: suite[key] for key in ("exit_code", "seconds", "unix_time")},
        "sanitizers": [{k: v for k, v in one.items() if k not in ("gpu", "sources")} for one in parts if one is not suite],
        "times_us": cases.get("times_us") or [],
        "cases": cases.get("cases") or [],
    }
    write(output, report)
    found = problems(report)
    table(report, parts, found)
    there = {one["part"] for one in parts} | set(wanted)
    for name in sorted(found.keys() - there):
        print(f"not in the report: {name}")
    print(f"report: {output}")
    tell([problem for name, problem in found.items() if name in there])


def table(report, parts, found):
    print(f"\n{report['device'] or 'device unknown'}, driver {report['gpu'].get('driver_version', 'unknown')}, sources {report['sources'][:12]}")
    print(f"{'part':<12}{'cases':>7}{'failed':>8}{'seconds':>9}  result")
    for one in parts:
        failed = "?" if one["failed"] is None else one["failed"]
        result = f"FAILED (exit code {one['exit_code']})" if one["part"] in found else "passed"
        print(f"{one['part']:<12}{one['cases']:>7}{failed:>8}{one['seconds']:>9}  {result}")


def tell(found, remedy=None):
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    if found and remedy:
        print(f"remedy: {remedy}", file=sys.stderr)
    sys.exit(1 if found else 0)


def check(path, sources):
    try:
        report = read(path)
    except FileNotFoundError:
        found = [f"there is no GPU report {path}"]
    except ValueError as error:
        found = [f"the GPU report {path} is no JSON: {error}"]
    else:
        found = [f"the GPU report does not pass: {problem}" for problem in problems(report).values()]
        if report.get("sources") != sources or (report.get("build") or {}).get("sources") != sources:
            found.append(f"the GPU report is of other sources: {report.get('sources')}, here {sources}")
    if not found:
        ran = f"{len(report['cases'])} cases on {report['device']}"
        print(f"the GPU report matches the sources: {ran}, none failed, {len(TOOLS)} checkers clean")
    tell(found, REMEDY)


def main():
    commands = {"part": (part, (5,)), "join": (join, range(2, 12)), "merge": (merge, range(4, 9)), "check": (check, (2,)), "facts": (facts, (0,))}
    command, counts = commands.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, ()))
    if command is None or len(sys.argv) - 2 not in counts:
        sys.exit(__doc__)
    command(*sys.argv[2:])


if __name__ == "__main__":
    main()
