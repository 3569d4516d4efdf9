"""Puts what test runs have seen into `api/documents/answers.json`, and draws the golden files anew.

    mkdir .seen && PURSER_TESTS_RECORD=.seen pytest -n 2 tests/flows tests/x402
    python -m tests.documents.recording .seen

Operations that were seen are replaced, others stay as they are; `--add` only widens what is there.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from api.documents import recorded
from docs import generate
from docs.served import URL
from tests.documents.judging import described, together
from tests.documents.plain import plain
from tests.documents.shapes import cut


def main(folder: Path, *, add: bool) -> None:
    stored: dict[str, Any] = json.loads(recorded.FILE.read_text(encoding="utf-8"))
    seen: dict[str, Any] = dict(stored) if add else {}
    for part in sorted(folder.glob("*.jsonl")):
        for line in part.read_text(encoding="utf-8").splitlines():
            name, found = json.loads(line)
            seen[name] = together(seen[name], found) if name in seen else found
    served = {operation.name for _, operation in described()}
    both = {**stored, **seen}
    kept = {name: _tidy(both[name]) for name in sorted(both) if name in served}
    recorded.FILE.write_text(json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    recorded.recorded.cache_clear()
    generate.main()
    shutil.rmtree(folder)
    print(
        f"{len(seen)} operations seen, {len(kept)} recorded, {', '.join(sorted(served - set(kept))) or 'none'} missing"
    )


def _tidy(entry: dict[str, Any]) -> dict[str, Any]:
    example = plain({name: entry[name] for name in ("parameters", "body", "answer")}, URL)
    return {"statuses": entry["statuses"], "data": cut(entry["data"]), **example}


if __name__ == "__main__":
    main(Path(sys.argv[1]), add="--add" in sys.argv[2:])
