// In which form should a batch cross the border to Node? Prints CPU time per item, best of seven rounds.
//
//     node benches/bulk_form/bulk_form.mjs
//
// See bulk_form.py for what the forms are.

const ITEMS = 64;

function cpuUsPerItem(work, repeat = 3000) {
  let best = Infinity;
  for (let round = 0; round < 7; round++) {
    const start = process.cpuUsage();
    for (let n = 0; n < repeat; n++) work();
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, user + system);
  }
  return (best / repeat / ITEMS).toFixed(2);
}

function flatFields(...fields) {
  const header = Buffer.alloc(4 * fields.length);
  fields.forEach((field, n) => header.writeUInt32LE(field.length, 4 * n));
  return Buffer.concat([header, ...fields]);
}

for (const size of [32, 1024]) {
  const items = Array.from({ length: ITEMS }, (_, n) => ({
    type: 'dispatch',
    dispatch_id: `0198c5aa-1111-7111-8111-${String(n).padStart(12, '0')}`,
    skill_id: 'echo',
    deadline_ms: 60000,
    args: { text: 'x'.repeat(size) },
  }));
  const array = JSON.stringify(items);
  const texts = items.map((item) => JSON.stringify(item));
  const flat = Buffer.concat(
    items.map((i) => flatFields(Buffer.from(i.dispatch_id), Buffer.from(i.skill_id), Buffer.from(JSON.stringify(i.args)))),
  );
  const answers = items.map((i) => ({ dispatch_id: i.dispatch_id, result: i.args }));

  const readFlat = () => {
    for (let at = 0; at < flat.length; ) {
      const ends = [0, 4, 8].map((offset) => flat.readUInt32LE(at + offset));
      at += 12;
      const fields = ends.map((length) => flat.toString('utf8', at, (at += length)));
      JSON.parse(fields[2]);
    }
  };
  const writeFlat = () =>
    Buffer.concat(answers.map((a) => flatFields(Buffer.from(a.dispatch_id), Buffer.from(JSON.stringify(a.result)))));

  console.log(
    `${String(size).padStart(5)} B in   array ${cpuUsPerItem(() => JSON.parse(array))}` +
      `   one by one ${cpuUsPerItem(() => texts.forEach((text) => JSON.parse(text)))}   flat ${cpuUsPerItem(readFlat)} us/item`,
  );
  console.log(
    `${String(size).padStart(5)} B out  array ${cpuUsPerItem(() => JSON.stringify(answers))}   flat ${cpuUsPerItem(writeFlat)} us/item`,
  );
}
