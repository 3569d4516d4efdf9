// The stock JavaScript client of x402 buys the $1 pack with one call, and spends from it with the token it got.
//
//     … | node docs/examples/buy.mjs [http://127.0.0.1:8787]
//
// The wallet's private key comes on standard input. Needs the packages @x402/fetch, @x402/evm and viem.

import { readFileSync } from "node:fs";

import { ExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const service = process.argv[2] ?? "http://127.0.0.1:8787";
const account = privateKeyToAccount(readFileSync(0, "utf-8").trim());
const client = new x402Client().register("eip155:*", new ExactEvmScheme(account));

const answer = await wrapFetchWithPayment(fetch, client)(`${service}/v1/x402/top-up/taster-100`, { method: "POST" });
const { data: bought } = await answer.json();
if (!bought.token) {
  // Only a new wallet is given one, and only once.
  console.log(`bought   ${bought.state}; this wallet has an account: ${service}/v1/x402/sign-in gives it a token`);
  process.exit(0);
}
console.log(`bought   ${bought.state}, receipt ${bought.receipt.receipt_id}`);
console.log(`token    ${bought.token.slice(0, 12)}… of ${bought.organization_id}`);

const spend = await fetch(`${service}/v1/spends`, {
  method: "POST",
  headers: { authorization: `Bearer ${bought.token}`, "content-type": "application/json" },
  body: JSON.stringify({ credits: 30, idempotency_key: "job-1" }),
});
const { data: spent } = await spend.json();
console.log(`spent    ${spent.credits}; left ${spent.limits.payment_backed_remaining_credits}`);
