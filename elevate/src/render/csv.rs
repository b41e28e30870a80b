//! The values of `--format json` as CSV (RFC 4180): a head and a record for each entry, safe to open in a spreadsheet.
//!
//! In: a JSON value. Out: lines. A cell that a spreadsheet would take for a formula begins with `'` (threat I02); control and
//! direction-changing characters are escaped; lists of words are joined by blanks, what is nested deeper is JSON.

use elevate_protocol::text::escape;
use serde_json::{Map, Value};

type Fields = Map<String, Value>;

/// Head and records of a value: its one list, each of its lists, or itself.
#[must_use]
pub fn table(value: &Value) -> Vec<String> {
    let Value::Object(all) = value else { return vec![cell(value)] };
    let lists: Vec<(&String, Vec<&Fields>)> =
        all.iter().filter_map(|(name, inner)| Some((name, entries(inner)?))).collect();
    let own: Fields = all
        .iter()
        .filter(|(name, _)| *name != "schema")
        .map(|(name, inner)| (name.clone(), inner.clone()))
        .collect();
    // A value that says something besides whose lists it holds is one record, its lists in their cells: an activation, an account.
    let single = own.iter().any(|(name, inner)| name != "person" && entries(inner).is_none());
    let records: Vec<Fields> = match lists.as_slice() {
        _ if single => vec![own],
        [] => vec![own],
        [(_, only)] => only.iter().map(|one| (*one).clone()).collect(),
        several => several.iter().flat_map(|(name, list)| list.iter().map(|one| named(name, one))).collect(),
    };
    let columns = columns(&records);
    if columns.is_empty() {
        return Vec::new();
    }
    let head = columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(",");
    std::iter::once(head).chain(records.iter().map(|one| record(one, &columns))).collect()
}

/// One record of these columns; `rest` of them is everything that has no column of its own, as JSON.
#[must_use]
pub fn line(value: &Value, columns: &[&str]) -> String {
    let empty = Fields::new();
    let fields = value.as_object().unwrap_or(&empty);
    let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    record(fields, &columns)
}

/// The head of these columns.
#[must_use]
pub fn head(columns: &[&str]) -> String {
    columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(",")
}

/// The entries of a list of objects; an empty list is one.
fn entries(value: &Value) -> Option<Vec<&Fields>> {
    value.as_array()?.iter().map(Value::as_object).collect()
}

/// An entry with the name of its list before it.
fn named(list: &str, entry: &Fields) -> Fields {
    let mut fields = entry.clone();
    fields.insert("list".to_owned(), Value::from(list));
    fields
}

/// Every field of any record, by name; where there are several lists, which one comes first.
fn columns(records: &[Fields]) -> Vec<String> {
    let mut names: Vec<String> = records.iter().flat_map(|one| one.keys().cloned()).collect();
    names.sort_by(|a, b| (a != "list", a).cmp(&(b != "list", b)));
    names.dedup();
    names
}

fn record(fields: &Fields, columns: &[String]) -> String {
    let cells = columns.iter().map(|name| fields.get(name).map(cell).unwrap_or_default());
    cells.collect::<Vec<_>>().join(",")
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        // Numbers of ours: a sign is theirs, and a spreadsheet reads a number.
        Value::Bool(_) | Value::Number(_) => return value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(all) if all.iter().all(Value::is_string) => {
            all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        }
        Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    quote(&text)
}

/// Safe as text: no formula, no control characters, quoted where it must be.
fn quote(text: &str) -> String {
    let shown: Vec<String> = text.lines().map(escape).collect();
    let mut shown = shown.join("\n");
    if shown.starts_with(['=', '+', '-', '@', '\t', '\r', '|', '%']) {
        shown.insert(0, '\'');
    }
    if shown.contains([',', '"', '\n', '\'', ' ', ';']) {
        format!("\"{}\"", shown.replace('"', "\"\""))
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// THREATS I02: CSV that is opened by a spreadsheet.
    #[test]
    fn i02_no_cell_of_csv_is_a_formula_or_leaves_its_cell() {
        for hostile in ["=cmd|'/c calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "%x", "|x"] {
            let lines = table(&json!({ "schema": "x/1", "activations": [{ "reason": hostile }] }));
            assert_eq!(lines.len(), 2);
            let cell = lines[1].trim_start_matches('"');
            assert!(cell.starts_with('\'') || cell.starts_with("\\u{9}"), "{hostile:?}: {lines:?}");
        }
        let lines =
            table(&json!({ "schema": "x/1", "all": [{ "a": "x\",\"y\r\n=1", "b": "\u{202e}\u{7}" }] }));
        assert_eq!(lines, ["a,b", "\"x\"\",\"\"y\n=1\",\\u{202e}\\u{7}"]);
    }

    #[test]
    fn lists_are_records_and_single_values_are_one() {
        let list = json!({ "schema": "elevate.hosts/1", "hosts": [
            { "name": "web1", "labels": { "tier": "web" }, "behind": 0, "seen_at": null },
            { "name": "db1", "labels": {}, "behind": 2, "sudo": "Sudo version 1.9" } ] });
        assert_eq!(
            table(&list),
            [
                "behind,labels,name,seen_at,sudo",
                "0,\"{\"\"tier\"\":\"\"web\"\"}\",web1,,",
                "2,{},db1,,\"Sudo version 1.9\""
            ]
        );
        let one =
            json!({ "schema": "x/1", "id": "G-1", "groups": ["a", "b"], "hosts": [{ "name": "web1" }] });
        assert_eq!(table(&one), ["groups,hosts,id", "\"a b\",\"[{\"\"name\"\":\"\"web1\"\"}]\",G-1"]);
        let several = json!({ "schema": "x/1", "person": "alice", "active": [{ "id": "G-1" }], "eligible": [{ "role": "dba" }] });
        assert_eq!(table(&several), ["list,id,role", "active,G-1,", "eligible,,dba"]);
        assert!(table(&json!({ "schema": "x/1", "hosts": [] })).is_empty());
    }

    #[test]
    fn lines_of_a_stream_have_the_columns_of_its_head() {
        let columns = ["seq", "code", "details"];
        assert_eq!(head(&columns), "seq,code,details");
        assert_eq!(
            line(&json!({ "seq": 7, "code": "request.denied", "more": 1 }), &columns),
            "7,request.denied,"
        );
    }
}
