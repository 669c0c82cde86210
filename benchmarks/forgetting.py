"""The control: what memory and gate are each good for, on a stream that forgets without them.

    python -m benchmarks.forgetting        (make forgetting; about 12 minutes on two cores)

Four arms, two seeds: memory on or off, gate on or off. Everything else is the same to the seed.
"""

from benchmarks.runs import Report, arguments, finish, machine, run, spread

ARMS = {
    "memory and gate": (True, True),
    "memory, no gate": (True, False),
    "gate, no memory": (False, True),
    "neither": (False, False),
}


def main() -> None:
    """Run, print the table, write the figures."""
    given = arguments(__doc__ or "")
    seeds = (0,) if given.quick else (0, 1)
    print(f"forgetting stream, seeds {', '.join(map(str, seeds))}; {machine()}\n")
    arms: dict[str, list[Report]] = {}
    for seed in seeds:
        for arm, (memory, gate) in ARMS.items():
            settings = [f"seed={seed}", f"memory.on={memory}", f"gate.on={gate}"]
            folder = given.dir / f"forgetting-{arm.replace(' ', '-').replace(',', '')}-{seed}"
            arms.setdefault(arm, []).append(run("forgetting", folder, settings))
    tasks = arms["neither"][0]["tasks"]
    print(f"{'arm':18}{'forgetting':>24}" + "".join(f"{task:>24}" for task in tasks) + f"{'seconds':>24}")
    figures: dict[str, float | None] = {}
    for arm, reports in arms.items():
        ends = [[report["scores"][-1][j] for report in reports] for j in range(len(tasks))]
        cells = [[report["forgetting"] for report in reports], *ends, [report["wall"] for report in reports]]
        print(f"{arm:18}" + "".join(f"{spread(cell):>24}" for cell in cells))
        for report in reports:
            key = f"{arm.replace(' ', '_').replace(',', '')}_{report['seed']}"
            figures |= {f"{key}_forgetting": report["forgetting"], f"{key}_average_success": report["average_success"]}
    finish(figures, given.json)


if __name__ == "__main__":
    main()
