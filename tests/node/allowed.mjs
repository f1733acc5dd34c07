// Prints what a program of CloudFront Functions must not use, one a line: node allowed.mjs function.js
import { parse } from "acorn";
import { readFileSync } from "node:fs";

// ES5.1, less what is odd in it, and const, let, arrows and templates.
const ALLOWED = new Set(
  `Program VariableDeclaration VariableDeclarator FunctionDeclaration FunctionExpression ArrowFunctionExpression
  BlockStatement ExpressionStatement ReturnStatement IfStatement ForStatement ForInStatement WhileStatement
  BreakStatement ContinueStatement ThrowStatement TryStatement CatchClause
  Identifier Literal TemplateLiteral TemplateElement ArrayExpression ObjectExpression Property
  MemberExpression CallExpression NewExpression ConditionalExpression LogicalExpression BinaryExpression
  UnaryExpression UpdateExpression AssignmentExpression`.split(/\s+/),
);

const found = [];
function check(node, above) {
  const at = `line ${node.loc.start.line}: `;
  if (!ALLOWED.has(node.type)) found.push(`${at}${node.type}`);
  if (node.async || node.generator) found.push(`${at}async or generator`);
  if (node.type === "Property" && (node.shorthand || node.computed || node.method)) found.push(`${at}short property`);
  if (node.params?.some((one) => one.type !== "Identifier")) found.push(`${at}odd parameter`);
  if (node.type === "VariableDeclarator" && node.id.type !== "Identifier") found.push(`${at}destructuring`);
  if (node.type === "CatchClause" && !node.param) found.push(`${at}catch without a name`);
  if (node.regex && !/^[gim]*$/.test(node.regex.flags)) found.push(`${at}flag of a regular expression`);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child?.type === "string") check(child, node);
    }
  }
}

// Of later years acorn takes nothing, in regular expressions neither.
check(parse(readFileSync(process.argv[2], "utf8"), { ecmaVersion: 2015, sourceType: "script", locations: true }));
console.log(found.join("\n"));
