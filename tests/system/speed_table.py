"""The whole speed table with one command, on a machine that has nothing else to do:

    python -m tests.system.speed_table --native KATAGO --out FOLDER [--state STATE] [NETWORK…]

Times a b10c128 of random weights and the networks named (default: b15c192 and b18c384nbt out of their packages) in
turns with a native KataGo on 19×19, 13×13 and 9×9, and writes FOLDER/speed.json and FOLDER/speed.txt. Artifacts in the
state folder take part; the figures go into their manifests, too. With `--tune` it also has each network tuned, once by
the race and once exhaustively, and tells how far apart the two are and what share of the time the race took.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fakes.network_writer import NetworkWriter

NETWORKS = ("b15c192", "b18c384nbt")
# As g170e-b10c128: ten blocks, of which the fifth and the eighth pool; a 5×5 convolution first.
B10C128 = ["ordinary"] * 4 + ["gpool"] + ["ordinary"] * 2 + ["gpool"] + ["ordinary"] * 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--native", type=Path, required=True, help="a katago built with Eigen and AVX2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--state", type=Path, help="the state folder with artifacts; default: one below FOLDER")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--unverified", action="store_true", help="also artifacts that nobody has verified")
    parser.add_argument("--rounds", default="7")
    parser.add_argument("--board", action="append", help="default: 19, 13 and 9")
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    state = (options.state or options.out / "state").resolve()
    with tempfile.TemporaryDirectory() as name:
        random = NetworkWriter(8, B10C128, channels=128, first_kernel=5).write(Path(name) / "b10c128-random.bin.gz")
        networks = [str(random), *options.networks]
        config = Path(name) / "agent.yaml"
        config.write_text(f"state_dir: {state}\n")
        arguments = ["speed", *networks, "--config", str(config), "--against", str(options.native.resolve())]
        arguments += ["--rounds", options.rounds, *(["--unverified"] if options.unverified else [])]
        arguments += [text for side in options.board or () for text in ("--board", side)]
        tables = agent(arguments)
        (options.out / "speed.json").write_text(json.dumps(tables, indent=1, ensure_ascii=False))
        text = "\n".join(line for table in tables for line in lines(table))
        if options.tune:
            text += "\n" + "\n".join(line for network in networks for line in tuned(network, config, options.out))
        (options.out / "speed.txt").write_text(text + "\n")
    print(text)


def agent(arguments: list[str]) -> Any:
    done = subprocess.run([sys.executable, "-m", "agent", *arguments, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def lines(table: dict[str, Any]) -> list[str]:
    peaks = table["peaks"]
    found = [
        f"{table['network']} on {table['hardware']}, load {table['load'][0]:.1f} to {table['load'][1]:.1f}",
        f"  peaks: fp32 {peaks['fp32'] / 1e9:.1f}, int8 {peaks['int8'] / 1e9:.1f}, "
        f"int8 with dot products {peaks['int8_dot'] / 1e9:.1f} G multiply-adds/s on {peaks['cores']} cores",
    ]
    for board in table["boards"]:
        limits = ", ".join(f"{name} {value:.1f}" for name, value in board["limits"].items())
        found.append(f"  {board['board']}: limits in evaluations/s: {limits}")
        if native := board["native"]:
            found.append(f"    {native['evals_per_s']:8.2f}  1.00         native, {native['setting']}")
        for path in board["paths"]:
            contender = path["contender"]
            name = " ".join(filter(None, (contender["backend"], contender["precision"], contender["form"])))
            ratio = f"{path['ratio']:.2f}" if path["ratio"] is not None else "    "
            way = f"{path['threads']} threads, {path['sessions']} sessions, batch {path['batch']}"
            share = f"{path['share']:4.0%} of {path['limit']}" if path["share"] else ""
            found.append(f"    {path['evals_per_s']:8.2f}  {ratio}  {share:<45} {name}, {way}")
        found += [f"    set aside {lost['contender']['backend']}: {lost['reason']}" for lost in board["set_aside"]]
    return found


def tuned(network: str, config: Path, out: Path) -> list[str]:
    """The race, then everything, and how the race's choice does in the sweep's own figures."""
    base = ["tune", "--network", network, "--config", str(config)]
    raced, swept = agent(base), agent([*base, "--all"])
    (out / f"tune-{Path(network).name.split('.')[0]}.json").write_text(json.dumps([raced, swept], indent=1))

    def key(timing: dict[str, Any]) -> tuple[Any, ...]:
        contender = timing["contender"]
        return (contender["backend"], contender["sha256"], timing["threads"], timing["sessions"], timing["batch"])

    rates = {key(timing): timing["evals_per_s"]["19x19"] for timing in swept["timings"]}
    best = max(rates.values())
    own = rates.get(key(raced["chosen"]), 0.0)
    return [
        f"tune {raced['network']}: the race chose {key(raced['chosen'])} in {raced['taken_s']:.1f} s, "
        f"{raced['taken_s'] / swept['taken_s']:.1%} of the sweep's {swept['taken_s']:.1f} s; "
        f"by the sweep's figures it reaches {own / best:.1%} of the best of {len(rates)} ways"
    ]


if __name__ == "__main__":
    main()
