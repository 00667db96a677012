// Halves of characters in JSON: UTF-8 cannot carry them, and whoever reads it strictly gives up all the rest.

/** As JSON.stringify() writes one, which escapes no others; a backslash of the text itself is doubled. */
const LONE_SURROGATE = /(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/g;

/** Whether JSON that JSON.stringify() has written holds one. */
export function has_lone_surrogate(json: string): boolean {
    return json.includes('\\ud') && json.search(LONE_SURROGATE) >= 0;
}

/** The same JSON with each of them replaced. */
export function without_lone_surrogates(json: string): string {
    return json.includes('\\ud') ? json.replaceAll(LONE_SURROGATE, '$1\ufffd') : json;
}
