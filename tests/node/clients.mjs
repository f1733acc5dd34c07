// What clients of a CMS do, each as its own documentation has it, against PACKSHOT_GRAPHQL. Prints what each saw, as JSON.
// While it runs, its parent edits the pack until the file PACKSHOT_SEEN has a line of every follower, restarts the server
// when asked to, and edits again.
import { createHash, createHmac } from "node:crypto";
import { appendFileSync } from "node:fs";
import { ApolloClient, gql, HttpLink, InMemoryCache } from "@apollo/client/core";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { cacheExchange, Client, fetchExchange } from "@urql/core";
import { persistedExchange } from "@urql/exchange-persisted";
import { createClient as createEvents } from "graphql-sse";
import { createClient as createSocket } from "graphql-ws";
import WebSocket from "ws";

globalThis.WebSocket ??= WebSocket; // as in browsers; Apollo needs it to tell errors
const { PACKSHOT_GRAPHQL: url, PACKSHOT_KEY: key, PACKSHOT_PACK: pack, PACKSHOT_SEEN: seen } = process.env;
const SECONDS = 2; // that a token is good for
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function token(seconds = SECONDS) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: "ed", scope: "read", exp: Math.floor(Date.now() / 1000) + seconds };
  const said = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${said}.${createHmac("sha256", key).update(said).digest("base64url")}`;
}
const authorization = (seconds) => ({ authorization: `Bearer ${token(seconds)}` });
const sha256 = (text) => createHash("sha256").update(text).digest("hex");

// Queries by the hash, of Apollo Client and urql.
async function counted(ask) {
  const sent = [];
  const counting = async (to, init) => {
    const answer = await fetch(to, init);
    sent.push({ method: init.method, status: answer.status });
    return answer;
  };
  const answers = await ask(counting);
  return { sent, answers };
}

const VIEWER = gql`query Viewer { viewer { subject } }`;
const TENANT = gql`query Tenant { viewer { tenant { name } } }`;
const apollo = (useGETForHashedQueries) => counted(async (counting) => {
  const http = new HttpLink({ uri: url, fetch: counting, headers: authorization(60) });
  const link = new PersistedQueryLink({ sha256, useGETForHashedQueries }).concat(http);
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  const answers = [];
  for (const query of [VIEWER, TENANT]) answers.push((await client.query({ query })).data.viewer);
  return answers;
});
const urql = () => counted(async (counting) => {
  const persisted = persistedExchange({ preferGetForPersistedQueries: false });
  const client = new Client({
    url,
    fetch: counting,
    fetchOptions: { headers: authorization(60) },
    preferGetMethod: false,
    exchanges: [cacheExchange, persisted, fetchExchange],
  });
  const answers = [];
  for (const query of ["{ viewer { subject } }", "{ viewer { tenant { name } } }"]) {
    const { data, error } = await client.query(query, {}).toPromise();
    if (error) throw error;
    answers.push(data.viewer);
  }
  return answers;
});

// Following, with tokens that end long before what is followed does.
const FOLLOWED = `subscription Follow($id: ID!) { packChanged(id: $id) { version } }`;
const socket = (connectionParams, closed, options = {}) => createSocket({
  url: url.replace("http", "ws"),
  webSocketImpl: WebSocket,
  retryAttempts: 600,
  retryWait: () => pause(100),
  // While a server that is alone restarts, nothing listens, which graphql-ws takes for an error that lasts.
  shouldRetry: () => true,
  connectionParams,
  on: { closed: ({ code }) => closed.push(code) },
  ...options,
});

function note(follower, { data }) {
  if (data) appendFileSync(seen, `${follower} ${data.packChanged.version}\n`);
}

function followers() {
  const codes = { "graphql-ws": [], apollo: [] };
  const ended = [];
  const ends = (name) => ({
    error: (error) => ended.push(`${name}: ${error?.code ?? error}`),
    complete: () => ended.push(`${name}: complete`),
  });
  const query = { query: FOLLOWED, variables: { id: pack } };
  const plain = socket(() => authorization(), codes["graphql-ws"]);
  plain.subscribe(query, { next: (one) => note("graphql-ws", one), ...ends("graphql-ws") });
  const link = new GraphQLWsLink(socket(() => authorization(), codes.apollo));
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  client.subscribe({ query: gql(FOLLOWED), variables: { id: pack } }).subscribe({
    next: (one) => note("apollo", one),
    ...ends("apollo"),
  });
  const errors = [];
  const events = createEvents({ url, headers: () => authorization(), retryAttempts: 600, retry: () => pause(100) });
  events.subscribe(query, {
    next: (one) => {
      if (one.errors) errors.push(one.errors[0].extensions.code);
      note("graphql-sse", one);
    },
    ...ends("graphql-sse"),
  });
  return { codes, ended, errors };
}

// urql follows by fetch, too.
function followedByFetch() {
  const client = new Client({
    url,
    fetchOptions: { headers: authorization(60) },
    exchanges: [fetchExchange],
    fetchSubscriptions: true,
    preferGetMethod: false,
  });
  return new Promise((resolve, reject) => {
    client.subscription(FOLLOWED, { id: pack }).subscribe(({ data, error }) => {
      if (error) reject(error);
      else resolve(data.packChanged.version);
    });
  });
}

// A token that is no good is not tried again and again.
async function refused() {
  const closed = [];
  const client = socket(() => ({ authorization: "Bearer nonsense" }), closed);
  const error = await new Promise((resolve) => {
    client.subscribe({ query: FOLLOWED, variables: { id: pack } }, { next() {}, error: resolve, complete: resolve });
  });
  return { code: error?.code, closed };
}

const result = {
  apollo: await apollo(false),
  apolloByGet: await apollo(true),
  urql: await urql(),
  refused: await refused(),
  followedByFetch: await followedByFetch(),
};
const following = followers();
// The parent has seen enough.
await new Promise((resolve) => process.stdin.on("data", resolve));
console.log(JSON.stringify({ ...result, ...following }));
process.exit();
