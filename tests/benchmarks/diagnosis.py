"""The confusion table of the diagnosis: every rule against every injected fault.

    python -m tests.benchmarks.diagnosis [extractor …] [--num-images 200 600] [--data digits colour]

``X`` is a rule that must fire and does, ``o`` one that may and does, ``-`` one that must and is silent, ``!`` one that
fires where it should not. Rules on numbers of images are left out: no fault here changes these.
"""

from __future__ import annotations

import argparse

from genmetrics_rt.diagnosis.rules import RULES, diagnose
from tests import faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extractors", nargs="*", default=["digits-classifier"])
    parser.add_argument("--num-images", nargs="*", type=int, default=[200, 600])
    parser.add_argument("--data", nargs="*", default=["digits"], choices=("digits", "colour"))
    options = parser.parse_args()

    keys = [rule.key for rule in RULES if rule.key not in faults.OF_NUMBERS]
    missed = due = false = quiet = 0
    for extractor in options.extractors:
        for data in options.data:
            for num_images in options.num_images:
                print(f"\n{data}, {extractor}, {num_images} images a side")
                for fault in faults.ON_DIGITS if data == "digits" else faults.ON_COLOUR:
                    generated, reference = faults.faulty(fault, data, num_images)
                    evidence = faults.evidence_of(generated, reference, extractor=extractor)
                    if fault.needs_classes and "class_score" not in evidence.scores:
                        continue
                    found = {finding.key for finding in diagnose(evidence)} - faults.OF_NUMBERS
                    wrong = found - fault.must - fault.may
                    missed, due = missed + len(fault.must - found), due + len(fault.must)
                    false, quiet = false + len(wrong), quiet + len(keys) - len(fault.must | fault.may)
                    marks = [f"X {key}" for key in sorted(found & fault.must)]
                    marks += [f"o {key}" for key in sorted(found & fault.may)]
                    marks += [f"- {key}" for key in sorted(fault.must - found)]
                    marks += [f"! {key}" for key in sorted(wrong)]
                    print(f"  {fault.name:14s} {', '.join(marks)}", flush=True)
    print(f"\nmissed: {missed} of {due}; false: {false} of {quiet} cells ({false / quiet:.1%})")


if __name__ == "__main__":
    main()
