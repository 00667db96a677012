"""In which form should a batch cross the border to Python? Prints CPU time per item, best of five rounds.

    python3 benches/bulk_form/bulk_form.py

array: one JSON array for the batch. one by one: a JSON text per item. flat: length-prefixed fields, the
arguments as JSON. What svantic_next_batch and svantic_answer_batch use is decided by this and by bulk_form.mjs.
"""

import json
import struct
import time

ITEMS = 64
HEADER = struct.Struct("<III")


def cpu_us_per_item(work, repeat=2000):
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(repeat):
            work()
        best = min(best, time.process_time() - start)
    return best / repeat / ITEMS * 1e6


def main():
    for size in (32, 1024):
        items = [
            {
                "type": "dispatch",
                "dispatch_id": f"0198c5aa-1111-7111-8111-{n:012d}",
                "skill_id": "echo",
                "deadline_ms": 60000,
                "args": {"text": "x" * size},
            }
            for n in range(ITEMS)
        ]
        array = json.dumps(items).encode()
        texts = [json.dumps(item).encode() for item in items]
        flat = b"".join(flat_item(item) for item in items)
        answers = [{"dispatch_id": i["dispatch_id"], "result": i["args"]} for i in items]

        def read_flat():
            at = 0
            while at < len(flat):
                lengths = HEADER.unpack_from(flat, at)
                at += HEADER.size
                fields = []
                for length in lengths:
                    fields.append(flat[at : at + length])
                    at += length
                fields[0].decode(), fields[1].decode(), json.loads(fields[2])

        def write_flat():
            parts = []
            for answer in answers:
                name = answer["dispatch_id"].encode()
                result = json.dumps(answer["result"]).encode()
                parts += [struct.pack("<II", len(name), len(result)), name, result]
            b"".join(parts)

        print(
            f"{size:5} B in   array {cpu_us_per_item(lambda: json.loads(array)):.2f}"
            f"   one by one {cpu_us_per_item(lambda: [json.loads(t) for t in texts]):.2f}"
            f"   flat {cpu_us_per_item(read_flat):.2f} us/item"
        )
        print(
            f"{size:5} B out  array {cpu_us_per_item(lambda: json.dumps(answers).encode()):.2f}"
            f"   flat {cpu_us_per_item(write_flat):.2f} us/item"
        )


def flat_item(item):
    fields = [item["dispatch_id"].encode(), item["skill_id"].encode(), json.dumps(item["args"]).encode()]
    return HEADER.pack(*map(len, fields)) + b"".join(fields)


if __name__ == "__main__":
    main()
