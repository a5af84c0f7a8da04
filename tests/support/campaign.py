"""campaign.py - what campaign.h is for the campaigns in Python: --seed, --budget, the closing lines."""
import argparse
import re
import time


class Budget:
    """`250000` units, or a time: `90s`, `30m`, `8h`."""

    def __init__(self, text):
        match = re.fullmatch(r"([1-9][0-9]*)([smh]?)", text)
        if not match:
            raise argparse.ArgumentTypeError(f"'{text}' is neither a count nor a time like 90s, 30m, 8h")
        number, unit = int(match.group(1)), match.group(2)
        self.count = 0 if unit else number
        self.seconds = number * {"s": 1, "m": 60, "h": 3600}[unit] if unit else 0
        self.began = time.monotonic()

    def left(self, done):
        if self.count:
            return done < self.count
        return time.monotonic() - self.began < self.seconds


def add_arguments(parser, count, seed=1):
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--budget", type=Budget, default=str(count),
                        help=f"a count or a time: 90s, 30m, 8h (default: {count})")


def close(name, seed, passed, failed, figures):
    """Prints the closing lines and returns the exit code."""
    print(f"figures: {name}, seed {seed}: {figures}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0
