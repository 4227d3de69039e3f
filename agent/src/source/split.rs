//! The documents of a file, apart from each other, so that a syntax error spoils only its own.

/// A document's text with the number of its first line, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The line of the file on which `text` begins.
    pub line: usize,
    /// The text, with its `---` line where it has one.
    pub text: &'a str,
}

/// Cuts before every line that begins with `---` and after every `...`: YAML gives these two the same meaning
/// anywhere in a file, even inside a block scalar (YAML 1.2.2, 9.1.2).
pub fn split(text: &str) -> Vec<Part<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line, "---") && offset > start {
            parts.push(Part { line: start_line, text: &text[start..offset] });
            (start, start_line) = (offset, number + 1);
        }
        if is_marker(line, "...") {
            parts.push(Part { line: start_line, text: &text[start..offset] });
            (start, start_line) = (offset + line.len(), number + 2);
        }
        offset += line.len();
    }
    parts.push(Part { line: start_line, text: &text[start..] });
    parts.retain(|part| !is_empty(part.text));
    parts
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Comments, blank lines and `%` directives only.
fn is_empty(text: &str) -> bool {
    let text = text.strip_prefix("---").unwrap_or(text);
    text.lines().map(str::trim_start).all(|line| line.is_empty() || line.starts_with(['#', '%']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, &str)> {
        split(text).into_iter().map(|part| (part.line, part.text)).collect()
    }

    #[test]
    fn documents_keep_their_lines() {
        assert_eq!(lines("a: 1\n---\nb: 2\n"), [(1, "a: 1\n"), (2, "---\nb: 2\n")]);
        assert_eq!(lines("---\na: 1\n...\n---\nb: 2"), [(1, "---\na: 1\n"), (4, "---\nb: 2")]);
        assert_eq!(lines("a: 1\r\n--- \r\nb: 2\r\n"), [(1, "a: 1\r\n"), (2, "--- \r\nb: 2\r\n")]);
    }

    #[test]
    fn nothing_but_comments_is_no_document() {
        for text in ["", "\u{feff}", "---\n---\n", "# a\n---\n  # b\n", "%YAML 1.2\n---\n", "\r\n"] {
            assert_eq!(lines(text), [], "{text:?}");
        }
    }

    #[test]
    fn dashes_inside_a_line_are_content() {
        assert_eq!(lines("----\n ---\na: ---\n").len(), 1);
    }
}
