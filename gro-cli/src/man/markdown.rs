//! The part of Markdown that the guide uses, as roff: headings, paragraphs, lists, code, tables.

/// The sections of a document: its level-2 headings with all behind them. What is before the first is left out, comments too.
pub(crate) fn sections(text: &str) -> String {
    let mut out = Writer::default();
    for line in text.lines().skip_while(|line| !line.starts_with("## ")) {
        out.line(line);
    }
    out.finish()
}

#[derive(Default)]
struct Writer {
    roff: String,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Between paragraphs.
    #[default]
    Between,
    /// In a paragraph or list item.
    Text,
    /// In fenced code.
    Code,
    /// In a table, which is shown as it is written.
    Table,
}

impl Writer {
    fn line(&mut self, line: &str) {
        if line.starts_with("```") {
            return self.fence();
        }
        if self.state == State::Code {
            return self.verbatim(line);
        }
        let trimmed = line.trim();
        if trimmed.starts_with("<!--") && trimmed.ends_with("-->") {
            return;
        }
        if trimmed.starts_with('|') {
            if self.state != State::Table {
                self.end_block();
                self.roff += ".PP\n.nf\n";
                self.state = State::Table;
            }
            return self.verbatim(&cells(trimmed));
        }
        if trimmed.is_empty() {
            self.end_block();
        } else if let Some(title) = trimmed.strip_prefix("## ") {
            self.heading(".SH", &title.to_uppercase());
        } else if let Some(title) = trimmed.strip_prefix("### ") {
            self.heading(".SS", title);
        } else if let Some(item) = trimmed.strip_prefix("- ") {
            self.end_block();
            self.roff += ".IP \\(bu 2\n";
            self.text(item);
        } else {
            if self.state != State::Text {
                self.end_block();
                self.roff += ".PP\n";
            }
            self.text(trimmed);
        }
    }

    fn heading(&mut self, request: &str, title: &str) {
        self.end_block();
        let quotes = if title.contains(' ') { "\"" } else { "" };
        self.roff += &format!("{request} {quotes}{}{quotes}\n", escape(title));
    }

    fn fence(&mut self) {
        if self.state == State::Code {
            return self.end_block();
        }
        self.end_block();
        self.roff += ".PP\n.RS 4\n.nf\n";
        self.state = State::Code;
    }

    fn verbatim(&mut self, line: &str) {
        self.roff += &guarded(&escape(line));
        self.roff.push('\n');
    }

    /// Inline code and emphasis become bold; a link is its text.
    fn text(&mut self, line: &str) {
        let (mut roff, mut is_bold) = (String::new(), false);
        for piece in escape(&links(line)).replace("**", "`").split('`') {
            roff += piece;
            is_bold = !is_bold;
            roff += if is_bold { "\\fB" } else { "\\fR" };
        }
        // The last switch has nothing behind it.
        roff.truncate(roff.len() - "\\fB".len());
        if !is_bold {
            roff += "\\fR";
        }
        self.roff += &guarded(&roff);
        self.roff.push('\n');
        self.state = State::Text;
    }

    fn end_block(&mut self) {
        match self.state {
            State::Code => self.roff += ".fi\n.RE\n",
            State::Table => self.roff += ".fi\n",
            State::Between | State::Text => {}
        }
        self.state = State::Between;
    }

    fn finish(mut self) -> String {
        self.end_block();
        self.roff
    }
}

/// A row without its bars, or nothing of the line below a table's head.
fn cells(row: &str) -> String {
    let cells = row.trim_matches('|').split('|').map(str::trim);
    if cells.clone().all(|cell| !cell.is_empty() && cell.chars().all(|sign| sign == '-' || sign == ':')) {
        return String::new();
    }
    cells.map(|cell| format!("{:<26}", cell.replace('`', ""))).collect::<String>().trim_end().to_owned()
}

/// `[text](address)` as its text.
fn links(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once('[') {
        let Some((text, tail)) = after.split_once("](") else { break };
        let Some((_, tail)) = tail.split_once(')') else { break };
        out += before;
        out += text;
        rest = tail;
    }
    out + rest
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// A line that starts as a request does is text all the same.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_the_guide_uses_becomes_roff() {
        let text = "# Title\nIntro\n\n## What is\nOne `a -b`\n.two **bold**\n\n- item [x](y.md)\n  goes on\n\n<!-- figures -->\n\n\
                    ```sh\n.run \\n\n```\n\n| a | b |\n|---|---|\n| `1` | 2 |\n\n### Small\nend\n";
        let expected = ".SH \"WHAT IS\"\n.PP\nOne \\fBa \\-b\\fR\n\\&.two \\fBbold\\fR\n.IP \\(bu 2\nitem x\ngoes on\n\
                        .PP\n.RS 4\n.nf\n\\&.run \\en\n.fi\n.RE\n\
                        .PP\n.nf\na                         b\n\n1                         2\n.fi\n.SS Small\n.PP\nend\n";
        assert_eq!(sections(text), expected);
    }

    #[test]
    fn nothing_and_half_a_document_are_no_trouble() {
        assert_eq!(sections(""), "");
        assert_eq!(sections("no heading"), "");
        assert!(sections("## a\n```\ncode").ends_with("code\n.fi\n.RE\n"));
        assert!(sections("## a\n[half `open").contains("[half \\fBopen"));
    }
}
