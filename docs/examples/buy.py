"""The stock Python client of x402 buys the $1 pack with one call, and spends from it with the token it got.

    … | python docs/examples/buy.py [http://127.0.0.1:8787]

The wallet's private key comes on standard input. Needs the packages `x402[evm,httpx]`.
"""

import asyncio
import sys

from eth_account import Account
from x402 import x402Client
from x402.http.clients import x402HttpxClient
from x402.mechanisms.evm.exact import ExactEvmClientScheme


async def main(service: str, wallet_key: str) -> None:
    """Buy, then spend."""
    client = x402Client()
    client.register("eip155:*", ExactEvmClientScheme(Account.from_key(wallet_key)))
    async with x402HttpxClient(client, timeout=30) as http:
        bought = (await http.post(f"{service}/v1/x402/top-up/taster-100")).raise_for_status().json()["data"]
        if "token" not in bought:  # only a new wallet is given one, and only once
            print(f"bought   {bought['state']}; this wallet has an account: {service}/v1/x402/sign-in gives it a token")
            return
        print(f"bought   {bought['state']}, receipt {bought['receipt']['receipt_id']}")
        print(f"token    {bought['token'][:12]}… of {bought['organization_id']}")
        bearer = {"authorization": f"Bearer {bought['token']}"}
        job = {"credits": 30, "idempotency_key": "job-1"}
        spent = (await http.post(f"{service}/v1/spends", json=job, headers=bearer)).raise_for_status().json()["data"]
        print(f"spent    {spent['credits']}; left {spent['limits']['payment_backed_remaining_credits']}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8787", sys.stdin.readline().strip()))
