//! Takes a shell line apart into the commands and redirections that permission rules are matched against.
//!
//! Whatever a rule could be fooled with makes the subject incomplete, so that only a person can allow it. What is found in such a line is listed
//! all the same, because a `deny` should still match it.

use brush_parser::ast::{
    AndOr, Command, CommandPrefixOrSuffixItem, CompoundCommand, CompoundList, IoFileRedirectKind,
    IoFileRedirectTarget, IoRedirect, Pipeline, RedirectList, SimpleCommand, Word,
};
use brush_parser::word::{WordPiece, WordPieceWithSource};
use brush_parser::{Parser, ParserOptions};
use oarlock_core::ports::tool::Subject;

/// Longer lines are not taken apart.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Brackets, substitutions and compound commands in one line; the parser recurses on them.
const OPENERS_MAX: usize = 60;
const PARTS_MAX: usize = 200;
const DEPTH_MAX: u32 = 4;

/// Commands that run what their arguments say.
const WRAPPERS: [&str; 34] = [
    ".", "source", "eval", "exec", "command", "builtin", "alias", "trap", "set", "enable", "hash",
    "coproc", "function", "sh", "bash", "dash", "zsh", "ksh", "busybox", "env", "xargs", "sudo",
    "doas", "su", "nohup", "setsid", "timeout", "nice", "ionice", "stdbuf", "time", "watch",
    "parallel", "script",
];

/// The simple commands and redirections of `line`.
pub(super) fn subject(line: &str) -> Subject {
    let mut taker =
        Taker { options: ParserOptions::default(), parts: Vec::new(), complete: true, depth: 0 };
    taker.line(line);
    let complete = taker.complete && !taker.parts.is_empty() && taker.parts.len() <= PARTS_MAX;
    taker.parts.truncate(PARTS_MAX);
    if !complete {
        taker.parts.push(line.trim().to_owned());
    }
    Subject { parts: taker.parts, complete }
}

struct Taker {
    options: ParserOptions,
    parts: Vec<String>,
    complete: bool,
    depth: u32,
}

/// What a word says, as far as it says it without being run.
struct Literal {
    text: String,
    /// It is exactly that, with no expansion in it.
    exact: bool,
    /// Some of it stands outside quotes and could be a pattern for names or braces.
    pattern: bool,
}

impl Taker {
    fn line(&mut self, line: &str) {
        let words = line.split(|c: char| !c.is_alphanumeric());
        let openers = line.matches(['(', '{', '`', '[']).count()
            + words.filter(|word| matches!(*word, "if" | "do" | "case" | "then" | "elif")).count();
        if line.len() > LINE_BYTES_MAX || openers > OPENERS_MAX || self.depth > DEPTH_MAX {
            self.complete = false;
            return;
        }
        let Ok(program) = Parser::new(line.as_bytes(), &self.options).parse_program() else {
            self.complete = false;
            return;
        };
        program.complete_commands.iter().for_each(|list| self.list(list));
    }

    fn list(&mut self, list: &CompoundList) {
        for item in &list.0 {
            self.pipeline(&item.0.first);
            for next in &item.0.additional {
                let (AndOr::And(pipeline) | AndOr::Or(pipeline)) = next;
                self.pipeline(pipeline);
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        pipeline.seq.iter().for_each(|command| self.command(command));
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Compound(compound, redirects) => {
                self.compound(compound);
                self.redirects(redirects.as_ref());
            }
            Command::Function(function) => {
                self.compound(&function.body.0);
                self.redirects(function.body.1.as_ref());
            }
            Command::ExtendedTest(_, redirects) => {
                self.complete = false;
                self.redirects(redirects.as_ref());
            }
        }
    }

    fn compound(&mut self, compound: &CompoundCommand) {
        match compound {
            CompoundCommand::Arithmetic(_) => self.complete = false,
            CompoundCommand::ArithmeticForClause(clause) => {
                self.complete = false;
                self.list(&clause.body.list);
            }
            CompoundCommand::BraceGroup(group) => self.list(&group.list),
            CompoundCommand::Subshell(subshell) => self.list(&subshell.list),
            CompoundCommand::ForClause(clause) => {
                clause.values.iter().flatten().for_each(|word| self.value(word));
                self.list(&clause.body.list);
            }
            CompoundCommand::CaseClause(clause) => {
                self.value(&clause.value);
                for case in &clause.cases {
                    case.patterns.iter().for_each(|word| self.value(word));
                    case.cmd.iter().for_each(|list| self.list(list));
                }
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition);
                self.list(&clause.then);
                for other in clause.elses.iter().flatten() {
                    other.condition.iter().for_each(|list| self.list(list));
                    self.list(&other.body);
                }
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.list(&clause.0);
                self.list(&clause.1.list);
            }
            CompoundCommand::Coprocess(coprocess) => {
                self.complete = false;
                self.command(&coprocess.body);
            }
        }
    }

    fn simple(&mut self, command: &SimpleCommand) {
        let mut words = Vec::new();
        for item in command.prefix.iter().flat_map(|prefix| &prefix.0) {
            self.item(item, &mut words, Position::Before);
        }
        if let Some(name) = &command.word_or_name {
            let name = self.literal(name);
            let spelled_out =
                name.exact && !name.pattern && !WRAPPERS.contains(&base_name(&name.text));
            self.complete &= spelled_out;
            words.push(quoted(name.text));
        }
        for item in command.suffix.iter().flat_map(|suffix| &suffix.0) {
            self.item(item, &mut words, Position::After);
        }
        let wrapped = words.first().is_some_and(|name| WRAPPERS.contains(&base_name(name)));
        let runs_others =
            words.iter().any(|word| word.starts_with("-exec") || word.starts_with("-ok"));
        self.complete &= !runs_others;
        if !words.is_empty() {
            self.parts.push(words.join(" "));
        }
        if wrapped {
            // What a wrapper runs begins at one of its arguments.
            self.parts.extend((1..words.len().min(8)).map(|from| words[from..].join(" ")));
        }
    }

    fn item(
        &mut self,
        item: &CommandPrefixOrSuffixItem,
        words: &mut Vec<String>,
        position: Position,
    ) {
        match item {
            CommandPrefixOrSuffixItem::IoRedirect(redirect) => self.redirect(redirect),
            CommandPrefixOrSuffixItem::Word(word) => words.push(self.argument(word)),
            CommandPrefixOrSuffixItem::AssignmentWord(_, word) => {
                let text = self.argument(word);
                match position {
                    // It changes what the command does, perhaps which command it is.
                    Position::Before => self.complete = false,
                    Position::After => words.push(text),
                }
            }
            CommandPrefixOrSuffixItem::ProcessSubstitution(_, subshell) => {
                self.complete = false;
                self.list(&subshell.list);
            }
        }
    }

    fn redirects(&mut self, redirects: Option<&RedirectList>) {
        redirects.iter().flat_map(|list| &list.0).for_each(|redirect| self.redirect(redirect));
    }

    fn redirect(&mut self, redirect: &IoRedirect) {
        match redirect {
            IoRedirect::File(_, kind, target) => self.file_redirect(kind, target),
            IoRedirect::OutputAndError(word, append) => {
                let path = self.argument(word);
                self.parts.push(format!("{} {path}", if *append { ">>" } else { ">" }));
            }
            IoRedirect::HereDocument(_, document) => {
                let expands =
                    document.requires_expansion && document.doc.value.contains(['$', '`']);
                self.complete &= !expands;
            }
            IoRedirect::HereString(_, word) => self.value(word),
        }
    }

    fn file_redirect(&mut self, kind: &IoFileRedirectKind, target: &IoFileRedirectTarget) {
        let sign = match kind {
            IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput => "<",
            IoFileRedirectKind::Append => ">>",
            IoFileRedirectKind::ReadAndWrite => "<>",
            IoFileRedirectKind::Write
            | IoFileRedirectKind::Clobber
            | IoFileRedirectKind::DuplicateOutput => ">",
        };
        match target {
            IoFileRedirectTarget::Fd(_) => {}
            IoFileRedirectTarget::Filename(word) => {
                let path = self.argument(word);
                if path != "/dev/null" {
                    self.parts.push(format!("{sign} {path}"));
                }
            }
            IoFileRedirectTarget::Duplicate(word) => {
                let path = self.argument(word);
                if !path.chars().all(|c| c.is_ascii_digit() || c == '-') {
                    self.parts.push(format!("{sign} {path}"));
                }
            }
            IoFileRedirectTarget::ProcessSubstitution(_, subshell) => {
                self.complete = false;
                self.list(&subshell.list);
            }
        }
    }

    /// A word that is data: it names no part, but may run something.
    fn value(&mut self, word: &Word) {
        let exact = self.literal(word).exact;
        self.complete &= exact;
    }

    fn argument(&mut self, word: &Word) -> String {
        let literal = self.literal(word);
        self.complete &= literal.exact;
        quoted(literal.text)
    }

    fn literal(&mut self, word: &Word) -> Literal {
        let mut literal = Literal { text: String::new(), exact: true, pattern: false };
        match brush_parser::word::parse(&word.value, &self.options) {
            Ok(pieces) => self.pieces(&pieces, &word.value, &mut literal),
            Err(_) => literal = Literal { text: word.value.clone(), exact: false, pattern: true },
        }
        literal
    }

    fn pieces(&mut self, pieces: &[WordPieceWithSource], source: &str, literal: &mut Literal) {
        for WordPieceWithSource { piece, start_index, end_index } in pieces {
            let raw = source.get(*start_index..*end_index).unwrap_or_default();
            match piece {
                WordPiece::Text(text) => {
                    literal.pattern |= text.contains(['*', '?', '[', '{', '~']);
                    literal.text.push_str(text);
                }
                WordPiece::SingleQuotedText(text) => literal.text.push_str(text),
                WordPiece::DoubleQuotedSequence(inner) => {
                    let before = literal.pattern;
                    self.pieces(inner, source, literal);
                    literal.pattern = before;
                }
                WordPiece::EscapeSequence(text) => {
                    literal.text.push_str(text.strip_prefix('\\').unwrap_or(text));
                }
                WordPiece::TildeExpansion(_) => {
                    literal.pattern = true;
                    literal.text.push_str(raw);
                }
                WordPiece::CommandSubstitution(line)
                | WordPiece::BackquotedCommandSubstitution(line) => {
                    literal.exact = false;
                    literal.text.push_str(raw);
                    self.depth += 1;
                    self.line(line);
                    self.depth -= 1;
                }
                WordPiece::AnsiCQuotedText(_)
                | WordPiece::GettextDoubleQuotedSequence(_)
                | WordPiece::ParameterExpansion(_)
                | WordPiece::ArithmeticExpression(_) => {
                    literal.exact = false;
                    literal.text.push_str(raw);
                }
            }
        }
    }
}

/// On which side of the command's name an item stands.
#[derive(Clone, Copy)]
enum Position {
    Before,
    After,
}

fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A word with blanks in it keeps quotes, so that it stays one word to the reader.
fn quoted(text: String) -> String {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || "'\"\\;&|<>()".contains(c)) {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_is_taken_apart_whole() {
        let cases: [(&str, &[&str]); 14] = [
            ("cargo test", &["cargo test"]),
            (
                "cd a && cargo build --release; ls | wc -l",
                &["cd a", "cargo build --release", "ls", "wc -l"],
            ),
            ("echo 'a b' > out.txt", &["> out.txt", "echo 'a b'"]),
            ("make 2>&1 | tail -5", &["make", "tail -5"]),
            ("ls 2>/dev/null", &["ls"]),
            ("(rm -rf x) &", &["rm -rf x"]),
            ("if true; then rm a; else rm b; fi", &["true", "rm a", "rm b"]),
            ("while true; do date; done", &["true", "date"]),
            ("case x in a) rm a;; esac", &["rm a"]),
            ("\"git\" pu\\sh", &["git push"]),
            ("cat <<'EOF'\n$(rm x)\nEOF\nrm y", &["cat", "rm y"]),
            ("f() { rm x; }; f", &["rm x", "f"]),
            ("sort < in >> out", &["< in", ">> out", "sort"]),
            ("ls *.rs ~/x", &["ls *.rs ~/x"]),
        ];
        for (line, parts) in cases {
            let subject = subject(line);
            assert!(subject.complete, "{line}: {subject:?}");
            assert_eq!(subject.parts, parts, "{line}");
        }
    }

    #[test]
    fn what_a_rule_could_be_fooled_with_is_incomplete_and_still_shows_what_it_runs() {
        let cases = [
            ("echo $(rm x)", "rm x"),
            ("echo `rm x`", "rm x"),
            ("echo \"$(rm x)\"", "rm x"),
            ("eval rm x", "rm x"),
            ("sudo rm x", "rm x"),
            ("/usr/bin/env A=1 rm x", "rm x"),
            ("find . | xargs rm x", "rm x"),
            ("find . -exec rm x +", "find . -exec rm x +"),
            ("diff <(rm x) b", "rm x"),
            ("PATH=/tmp rm x", "rm x"),
            ("$X a", "$X a"),
            ("r* x", "r* x"),
            ("echo $((1+1))", "echo '$((1+1))'"),
            ("[[ -v a ]]; rm x", "rm x"),
            ("cat <<EOF\n$(rm x)\nEOF", "cat"),
            ("echo 'unclosed", "echo 'unclosed"),
            ("X=1", "X=1"),
            ("", ""),
            ("# nothing", "# nothing"),
        ];
        for (line, part) in cases {
            let subject = subject(line);
            assert!(!subject.complete, "{line}: {subject:?}");
            assert!(subject.parts.iter().any(|found| found == part), "{line}: {subject:?}");
        }
    }

    #[test]
    fn a_line_that_nests_deeply_or_is_very_long_is_not_taken_apart() {
        for line in [
            "(".repeat(5000),
            "$(".repeat(300),
            "{ ".repeat(300),
            "a;".repeat(20_000),
            "if ".repeat(300),
        ] {
            assert!(!subject(&line).complete);
        }
        let nested = format!("{}true{}", "(".repeat(OPENERS_MAX), ")".repeat(OPENERS_MAX));
        assert!(!subject(&nested).parts.is_empty());
    }
}
