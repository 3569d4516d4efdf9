// One request by the stock clients of x402 for JavaScript, used as their README shows. From standard input:
//   {"url", "method", "headers", "body", "privateKey", "network", "spendControls", "signIn"}
// To standard output, as one line: {"status", "headers", "body", "payments"}, where `payments` are the PAYMENT-SIGNATURE
// headers that were sent; or {"error"}, when the client itself would not do it. The key comes by standard input because
// arguments can be read by every process of the machine.

import { readFileSync } from "node:fs";

import { ExactEvmScheme } from "@x402/evm/exact/client";
import { createSIWxClientExtension } from "@x402/extensions/sign-in-with-x";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const asked = JSON.parse(readFileSync(0, "utf-8"));
const account = privateKeyToAccount(asked.privateKey);
const client = new x402Client().register(asked.network, new ExactEvmScheme(account));
if (asked.spendControls !== null) client.setSpendControls(asked.spendControls);
if (asked.signIn) client.registerExtension(createSIWxClientExtension({ signers: [account] }));

const payments = [];
const watchedFetch = (request) => {
  const payment = request.headers.get("PAYMENT-SIGNATURE");
  if (payment !== null) payments.push(payment);
  return fetch(request);
};

let said;
try {
  const { method, headers, body } = asked;
  const answer = await wrapFetchWithPayment(watchedFetch, client)(asked.url, { method, headers, body });
  said = { status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.text(), payments };
} catch (error) {
  said = { error: String(error.message), payments };
}
console.log(JSON.stringify(said));
