// Runs every audit of GraphQL over HTTP against PACKSHOT_GRAPHQL and prints what each found, as JSON.
import { serverAudits } from "graphql-http";

const { PACKSHOT_GRAPHQL, PACKSHOT_TOKEN } = process.env;
const withToken = (url, init = {}) =>
  fetch(url, { ...init, headers: { ...init.headers, authorization: `Bearer ${PACKSHOT_TOKEN}` } });

const found = [];
for (const audit of serverAudits({ url: PACKSHOT_GRAPHQL, fetchFn: withToken })) {
  const { id, name, status, reason } = await audit.fn();
  found.push({ id, name, status, reason });
}
console.log(JSON.stringify(found));
