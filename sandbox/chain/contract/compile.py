"""Compile the contracts of this folder into `<name>.json`: `python -m sandbox.chain.contract.compile`.

Needs Node, npm and a package index, once, after a source was changed; the tests need the artefacts only. The same
source gives the same artefact, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
CONTRACTS: Final = ("UsdcLike", "Wallet1271")
SOLC: Final = "0.8.37"
TIMEOUT_S: Final = 120
SETTINGS: Final = {
    "evmVersion": "cancun",
    "optimizer": {"enabled": True, "runs": 200},
    "metadata": {"bytecodeHash": "none"},
    "viaIR": True,  # the nine arguments of EIP-3009 are more than the stack of the older pipeline takes
}
PROGRAM: Final = """
const solc = require("solc");
const input = require("fs").readFileSync(0, "utf8");
process.stdout.write(JSON.stringify({version: solc.version(), output: JSON.parse(solc.compile(input))}));
"""


def source_sha256(contract: str) -> str:
    """The hash of a contract's source."""
    return hashlib.sha256((HERE / f"{contract}.sol").read_bytes()).hexdigest()


def compiled() -> dict[str, Any]:
    """What the compiler says about all contracts, and its full version."""
    files = {f"{name}.sol": {"content": (HERE / f"{name}.sol").read_text(encoding="utf-8")} for name in CONTRACTS}
    wanted = {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}}
    task = {"language": "Solidity", "sources": files, "settings": {**SETTINGS, "outputSelection": wanted}}
    with tempfile.TemporaryDirectory(prefix="purser-solc-") as folder:
        install = ["npm", "install", f"solc@{SOLC}", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(install, cwd=folder, check=True, timeout=TIMEOUT_S)  # noqa: S603 - npm, with what stands here
        run = ["node", "-e", PROGRAM]
        answer = subprocess.run(  # noqa: S603 - node, with what stands here
            run, cwd=folder, check=True, timeout=TIMEOUT_S, input=json.dumps(task), capture_output=True, text=True
        )
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def main() -> None:
    """Write the artefacts."""
    answer = compiled()
    said = [message["formattedMessage"] for message in answer["output"].get("errors", [])]
    if said:
        raise SystemExit("\n".join(said))
    for contract in CONTRACTS:
        made = answer["output"]["contracts"][f"{contract}.sol"][contract]
        artefact = {
            "contract": contract,
            "source_sha256": source_sha256(contract),
            "compiler": f"solc {answer['version']}",
            "settings": SETTINGS,
            "abi": made["abi"],
            "bytecode": f"0x{made['evm']['bytecode']['object']}",
            "deployedBytecode": f"0x{made['evm']['deployedBytecode']['object']}",
        }
        (HERE / f"{contract}.json").write_text(json.dumps(artefact, indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"{contract}.json: {len(made['evm']['deployedBytecode']['object']) // 2} bytes\n")


if __name__ == "__main__":
    main()
