//! The values of `--format json` as YAML 1.2: blocks, and every text in double quotes, written as JSON writes it.
//!
//! In: a JSON value. Out: one YAML document without its end. A text that is quoted is never a number, a date or `no`.

use serde_json::Value;

/// The document.
#[must_use]
pub fn document(value: &Value) -> String {
    let mut text = String::from("---");
    node(value, 0, &mut text);
    text
}

/// Writes what comes after `key:` or `-`, with the blank or line end before it.
fn node(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, inner) in fields {
                line(depth, text);
                text.push_str(&quoted(key));
                text.push(':');
                node(inner, depth.saturating_add(1), text);
            }
        }
        Value::Array(entries) if !entries.is_empty() => {
            for entry in entries {
                line(depth, text);
                text.push('-');
                node(entry, depth.saturating_add(1), text);
            }
        }
        // JSON's own writing of these is YAML's (YAML 1.2 §1.3).
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            text.push(' ');
            text.push_str(&value.to_string());
        }
    }
}

/// Keys of ours are plain words; anything else is quoted.
fn quoted(key: &str) -> String {
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !matches!(key, "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null");
    if plain { key.to_owned() } else { Value::from(key).to_string() }
}

fn line(depth: usize, text: &mut String) {
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_quoted_and_blocks_are_indented() {
        let value = json!({
            "schema": "elevate.account/1",
            "groups": ["no", "1.0"],
            "needs": [{ "need": 2, "of": [] }, {}],
            "ends_at": null,
            "yes": true,
            "text": "a \"b\"\n\u{1}",
        });
        assert_eq!(
            document(&value),
            "---\nends_at: null\ngroups:\n  - \"no\"\n  - \"1.0\"\nneeds:\n  -\n    need: 2\n    of: []\n  - {}\n\
             schema: \"elevate.account/1\"\ntext: \"a \\\"b\\\"\\n\\u0001\"\n\"yes\": true"
        );
    }
}
