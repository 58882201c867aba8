// Prints the lines that an npm package shows of a log: `follow.cjs PACKAGE LOG`.
const { createRequire } = require("module");
const [name, log] = process.argv.slice(2);
const load = createRequire(`${process.env.KEPT}/npm/`);
const show = (line) => process.stdout.write(`${line}\n`);

const followers = {
  tail() {
    const { Tail } = load("tail");
    listen(new Tail(log, { fromBeginning: true }));
  },
  "tail-file"() {
    const Tail = load("tail-file");
    const tail = new Tail(log);
    listen(tail);
    tail.start();
  },
  "@logdna/tail-file"() {
    const Tail = load("@logdna/tail-file");
    const tail = new Tail(log, { startPos: 0, encoding: "utf8" });
    tail.on("data", (text) => process.stdout.write(text));
    tail.on("tail_error", (error) => console.error(error.message));
    tail.start();
  },
  "always-tail"() {
    const Tail = load("always-tail");
    const tail = new Tail(log, "\n", { start: 0, interval: 200 });
    listen(tail);
    tail.watch();
  },
  "nodejs-tail"() {
    const Tail = load("nodejs-tail");
    const tail = new Tail(log);
    listen(tail);
    tail.watch();
  },
};

function listen(tail) {
  tail.on("line", show);
  tail.on("error", (error) => console.error(String(error)));
}

followers[name]();
