//! The function of one header.

use super::masks::{header_masks, number};
use super::words::{Words, joined, plus};
use super::{
    Emitted, Unsupported, constant, function as function_name, identity_rule, is_on, reason, refuse,
};
use super::{look_up, unless_off};
use crate::gro::{Covers, FieldRule, GroField, Layer, TunnelKind, Unequal};
use crate::model::{Comparison, Field, Graph, HeaderLength, Node, Parser, Test};
use std::fmt::Write as _;

/// A function, and whether it has the profile as a parameter.
pub(super) struct Function {
    pub(super) text: String,
    pub(super) needs_profile: bool,
}

pub(super) fn function(graph: &Graph, parser: &Parser, index: usize) -> Result<Function, Unsupported> {
    let node = &graph.nodes[index];
    let mut writer = Writer {
        graph,
        node,
        words: Words::of(&constant(&node.name), header_masks(node, FieldRule::Identify)),
        body: String::new(),
    };
    let is_root = parser.root == index;
    // Where conditions come first, most of what they look at is written behind them.
    let is_transport = node.gro.layer == Some(Layer::Transport);
    let words_first = is_transport && node.conditions.is_empty();
    if words_first {
        writer.transport_words()?;
    }
    writer.conditions()?;
    let end = writer.length()?;
    match node.gro.layer {
        Some(Layer::Link) => writer.link()?,
        Some(Layer::Tag) => writer.tag()?,
        Some(Layer::Network) => writer.network(&end)?,
        Some(Layer::Extension) => writer.extension(&end)?,
        Some(Layer::Transport) => writer.transport(&end, !words_first)?,
        Some(Layer::Tunnel) => writer.tunnel()?,
        None if node.overlay && !node.encap => {}
        None => return Err(refuse(node, "no \"layer\": the engine has no place for the header")),
    }
    writer.next(&end)?;
    Ok(writer.finish(parser, is_root))
}

struct Writer<'a> {
    graph: &'a Graph,
    node: &'a Node,
    words: Words,
    /// What comes behind the reads.
    body: String,
}

impl Writer<'_> {
    fn value(&mut self, field: Field, what: &str) -> Emitted {
        let node = self.node;
        self.words
            .value(field)
            .ok_or_else(|| refuse(node, format!("{what} does not lie inside one 32-bit word of the header")))
    }

    /// What must hold for the header.
    fn conditions(&mut self) -> Result<(), Unsupported> {
        for condition in &self.node.conditions {
            let refusals = &self.node.gro.refusals;
            let named = refusals.iter().find(|(name, _)| Some(name) == condition.name.as_ref());
            let (name, why) = named.ok_or_else(|| {
                refuse(self.node, "a condition without a reason under \"gro\": \"bypass\": \"cond-exprs\"")
            })?;
            let fails = self.fails(&condition.test)?;
            let unless = unless_off(self.node, name);
            let _ = writeln!(self.body, "if {fails}{unless} {{ return Err(Bypass::{}); }}", reason(why));
        }
        Ok(())
    }

    /// The opposite of a test.
    fn fails(&mut self, test: &Test) -> Emitted {
        match test {
            Test::Compare { comparison, field, value } => {
                let sign = match comparison {
                    Comparison::Equal => "!=",
                    Comparison::NotEqual => "==",
                    Comparison::Greater => "<=",
                    Comparison::GreaterOrEqual => "<",
                    Comparison::Less => ">=",
                    Comparison::LessOrEqual => ">",
                };
                let left = self.value(*field, "a condition's field")?;
                Ok(format!("{left} {sign} {}", literal(*value)))
            }
            Test::All(parts) => self.group(parts, " || ", "false"),
            Test::Any(parts) => self.group(parts, " && ", "true"),
        }
    }

    fn group(&mut self, parts: &[Test], sign: &str, empty: &str) -> Emitted {
        let parts = parts.iter().map(|part| self.fails(part)).collect::<Result<Vec<_>, _>>()?;
        Ok(if parts.is_empty() { empty.to_owned() } else { format!("({})", parts.join(sign)) })
    }

    /// The header's end, as an expression; checks that it is there.
    fn length(&mut self) -> Emitted {
        let node = self.node;
        match node.length {
            _ if node.overlay => Ok("at".to_owned()),
            None => Ok(plus(node.min_length)),
            Some(length) if fixed_length(node, length) == Some(node.min_length) => Ok(plus(node.min_length)),
            Some(HeaderLength::Computed { field, multiplier, add }) => {
                let value = self.value(field, "hdr-length")?;
                let value = if multiplier == 1 { value } else { format!("({value}) * {multiplier}") };
                let (least, add) = (i64::from(node.min_length), i64::from(add));
                if add < least {
                    let why = node.gro.short_header.as_deref().ok_or_else(|| {
                        refuse(node, "hdr-length may be short, and \"bypass\" has no \"short-header\"")
                    })?;
                    let unless = unless_off(node, "short-header");
                    let _ = writeln!(
                        self.body,
                        "let length = {value};\nif length < {}{unless} {{ return Err(Bypass::{}); }}",
                        least - add,
                        reason(why)
                    );
                } else {
                    let _ = writeln!(self.body, "let length = {value};");
                }
                let end = match add {
                    0 => "at + length".to_owned(),
                    add if add > 0 => format!("at + length + {add}"),
                    // A length that a switched-off test let through may be short.
                    add => format!("(at + length).wrapping_sub({})", -add),
                };
                let _ = writeln!(self.body, "let end = {end};\nfits(window, end)?;");
                Ok("end".to_owned())
            }
            Some(HeaderLength::FlagFields) => {
                let Some(flags) = node.flag_fields else { return Ok(plus(node.min_length)) };
                let _ = writeln!(self.body, "let mut end = {};", plus(node.min_length));
                let fields = self.graph.flag_tables.get(flags.table).map_or(&[][..], |table| &table.fields);
                for field in fields {
                    let there =
                        self.has(Field { mask: field.mask & flags.flags.mask, ..flags.flags }, field.flag)?;
                    let name = field.name.as_deref().unwrap_or("a field");
                    let _ = writeln!(self.body, "// {name}\nif {there} {{ end += {}; }}", field.size);
                }
                let _ = writeln!(self.body, "fits(window, end)?;");
                Ok("end".to_owned())
            }
        }
    }

    /// Whether some flags are set: all of `flag`, or, where it is the whole mask of one bit, just that one.
    fn has(&mut self, field: Field, flag: u64) -> Emitted {
        let value = self.value(field, "the flags")?;
        let one = field.mask == flag && flag.is_power_of_two() && field.shift == 0;
        Ok(if one { format!("{value} != 0") } else { format!("{value} == {}", literal(flag >> field.shift)) })
    }

    fn link(&mut self) -> Result<(), Unsupported> {
        let identify = header_masks(self.node, FieldRule::Identify);
        if identify.get(..3) != Some(&[u32::MAX; 3]) || self.node.min_length != 14 {
            return Err(refuse(
                self.node,
                "a link header is two MAC addresses and an ethertype, all of them identify",
            ));
        }
        let words: Vec<String> = (0..3).map(|word| self.words.word(word, 0..4)).collect();
        let _ = writeln!(self.body, "packet.link::<P>(at, [{}]);", words.join(", "));
        Ok(())
    }

    /// A tag is told by the key that announced it, too. What announces the next header need not be: that header is told itself.
    fn tag(&mut self) -> Result<(), Unsupported> {
        let node = self.node;
        self.present_length()?;
        let mut identify = header_masks(node, FieldRule::Identify);
        if let Some(next) = node.next {
            for byte in next.field.offset..next.field.offset + next.field.length {
                if let Some(word) = identify.get_mut(byte as usize / 4) {
                    *word &= !(0xff << (24 - 8 * (byte % 4)));
                }
            }
        }
        let rule = identity_rule(node);
        let of = |word: &str| rule.as_ref().map_or(word.to_owned(), |rule| format!("{rule}.of::<P>({word})"));
        let first = identify.first_mut().map_or(0, std::mem::take);
        // The upper half of the first word goes beside the key; the lower half is one more word.
        let upper = if first >> 16 == 0 {
            String::new()
        } else {
            let field = Field { offset: 0, length: 2, mask: u64::from(first >> 16), shift: 0 };
            format!(" | {}", self.value(field, "the tag")?)
        };
        let word = of(&format!("cursor.key << 16{upper}"));
        let _ = writeln!(self.body, "packet.chain.push({word});");
        if let Some(word) = identify.first_mut() {
            *word = first & 0xffff;
        }
        for (index, mask) in identify.into_iter().enumerate().filter(|(_, mask)| *mask != 0) {
            let word = of(&self.words.masked(index as u32, mask));
            let _ = writeln!(self.body, "packet.chain.push({word});");
        }
        Ok(())
    }

    fn network(&mut self, end: &str) -> Result<(), Unsupported> {
        let node = self.node;
        let ethertype =
            node.gro.ethertype.ok_or_else(|| refuse(node, "a network header needs an \"ethertype\""))?;
        let Some(next) = node.next else { return Err(refuse(node, "a network header needs a next-proto")) };
        if let Some(checksum) = &node.gro.checksum {
            if checksum.covers != Covers::Header || node.min_length != 20 {
                return Err(refuse(node, "the engine verifies checksums over headers of 20 bytes only"));
            }
            let words: Vec<String> = (0..5).map(|word| self.words.word(word, 0..4)).collect();
            let unless = unless_off(node, "checksum");
            let _ = writeln!(
                self.body,
                "if sum(&[{}]) != 0xffff{unless} {{ return Err(Bypass::{}); }}",
                words.join(", "),
                reason(&checksum.bypass)
            );
        }
        let key = self.value(next.field, "next-proto")?;
        let _ = writeln!(self.body, "packet.key.protocol = {ethertype:#06x} << 16 | {};", bracketed(&key));
        let label = self.word("label")?;
        let _ = writeln!(self.body, "packet.key.label = {label};");
        let addresses = self.addresses()?;
        if addresses.iter().any(|word| word == "0") {
            let _ = writeln!(self.body, "packet.key.addresses = [{}];", addresses.join(", "));
        } else {
            // One after the other: a BPF program has few registers and little stack.
            for (index, word) in addresses.iter().enumerate() {
                let _ = writeln!(self.body, "packet.key.addresses[{index}] = {word};");
            }
        }
        for name in ["class", "id_check"] {
            let value = self.word(name)?;
            let _ = writeln!(self.body, "packet.{name} = {value};");
        }
        self.present_length()?;
        let _ = writeln!(self.body, "packet.l3 = at;\npacket.l4 = {end};");
        Ok(())
    }

    fn extension(&mut self, end: &str) -> Result<(), Unsupported> {
        let all = header_masks(self.node, FieldRule::Identify).iter().all(|&word| word == u32::MAX);
        if !all || self.node.gro.rest != Some(FieldRule::Identify) {
            return Err(refuse(
                self.node,
                "an extension header is part of the flow's identity, with all its bytes",
            ));
        }
        let _ = writeln!(self.body, "packet.l4 = {end};");
        Ok(())
    }

    /// Written at once, before anything is asked of them: each value is then done with.
    fn transport_words(&mut self) -> Result<(), Unsupported> {
        let is_tcp = self.node.gro.fields.iter().any(|field| into(field) == Some("seq"));
        let _ = writeln!(self.body, "packet.udp = {};", u32::from(!is_tcp));
        let ports = self.word("ports")?;
        let _ = writeln!(self.body, "packet.key.ports = {ports};");
        for name in ["seq", "ack", "control", "check_urgent"] {
            let value = self.word(name)?;
            let _ = writeln!(self.body, "packet.{name} = {value};");
        }
        Ok(())
    }

    fn transport(&mut self, end: &str, words: bool) -> Result<(), Unsupported> {
        self.present_length()?;
        if words {
            self.transport_words()?;
        }
        let _ = writeln!(
            self.body,
            "packet.payload = {end};\npacket.payload_len = window.len() - packet.payload;"
        );
        Ok(())
    }

    fn tunnel(&mut self) -> Result<(), Unsupported> {
        let node = self.node;
        let identify = header_masks(node, FieldRule::Identify);
        let rule = identity_rule(node);
        let of = |word: &str| rule.as_ref().map_or(word.to_owned(), |rule| format!("{rule}.of::<P>({word})"));
        if node.gro.rest == Some(FieldRule::Identify) {
            // All of it goes into the chain in the next part.
            let all = identify.iter().all(|&word| word == u32::MAX);
            if !all || !node.encap || rule.is_none() || !node.min_length.is_multiple_of(4) {
                return Err(refuse(
                    node,
                    "\"rest\" identify: then all of the header is, by a rule \"identity\", and it has encap",
                ));
            }
        } else {
            for (index, &mask) in identify.iter().enumerate().filter(|(_, mask)| **mask != 0) {
                let word = of(&self.words.masked(index as u32, mask));
                let _ = writeln!(self.body, "packet.chain.push({word});");
            }
        }
        for field in &node.gro.optional {
            let (when, offset) = (self.value(field.when, "\"when\"")?, field.field.offset);
            if field.rule != FieldRule::Identify || field.field.length != 4 || field.field.mask != 0xffff_ffff
            {
                return Err(refuse(node, "an optional field has 4 bytes and rule identify"));
            }
            let word = of(&format!("window.be32({})", plus(offset)));
            let _ = writeln!(self.body, "// {}\nif {when} != 0 {{ packet.chain.push({word}); }}", field.name);
        }
        if let Some(checksum) = &node.gro.checksum {
            let there = match checksum.when {
                Some(when) => format!("{} != 0", self.value(when, "\"when\"")?),
                None => format!("{} != 0", self.value(checksum.field, "the checksum")?),
            };
            let udp = checksum.covers == Covers::Payload;
            let _ = writeln!(self.body, "packet.checked(at, {udp}, {there});");
        }
        if node.encap {
            let kind = match node.gro.tunnel {
                Some(TunnelKind::IpInIp) => "IpInIp",
                Some(TunnelKind::Gre) => "Gre",
                Some(TunnelKind::Udp) => "Udp",
                None => return Err(refuse(node, "a header with encap needs a \"tunnel\"")),
            };
            let _ = writeln!(self.body, "packet.encapsulate::<P>(TunnelKind::{kind});");
        }
        Ok(())
    }

    /// A length field that must agree with the frame, and bits that end a merge.
    fn present_length(&mut self) -> Result<(), Unsupported> {
        let node = self.node;
        let mut flush = Vec::new();
        if let Some(length) = &node.gro.length {
            let value = self.value(length.field, "the length")?;
            let add = if length.add == 0 { String::new() } else { format!(" - {}", length.add) };
            let differs = format!("{value} != window.len() - at{add}");
            let unless = unless_off(node, "length");
            match &length.unequal {
                Unequal::Flush => flush.push(format!("{differs}{unless}")),
                Unequal::Bypass(why) => {
                    // The length may count from behind the header's start.
                    let differs = if length.add == 0 {
                        differs
                    } else {
                        format!("{} + {} != window.len() - at", bracketed(&value), length.add)
                    };
                    let why = reason(why);
                    let _ = writeln!(self.body, "if {differs}{unless} {{ return Err(Bypass::{why}); }}");
                }
            }
        }
        for bits in &node.gro.flush {
            let value = self.value(bits.field, &bits.name)?;
            flush.push(format!("{value} != 0{}", unless_off(node, &bits.name)));
        }
        if !flush.is_empty() {
            let _ = writeln!(self.body, "packet.mismatch |= {};", flush.join(" || "));
        }
        Ok(())
    }

    /// The fields that go to one of the engine's words.
    fn word(&mut self, name: &str) -> Emitted {
        let node = self.node;
        let mut fields = Vec::new();
        for field in node.gro.fields.iter().filter(|field| into(field) == Some(name)) {
            let number = number(field)
                .ok_or_else(|| refuse(node, format!("\"{}\" is too long for a word", field.name)))?;
            fields.push((number, field.into.as_ref().map_or(0, |(_, shift)| *shift)));
        }
        joined(&mut self.words, &fields)
            .ok_or_else(|| refuse(node, format!("a field that goes to \"{name}\" lies across two words")))
    }

    /// Eight words: a field's shift says where it goes, 32 bits a word.
    fn addresses(&mut self) -> Result<Vec<String>, Unsupported> {
        let mut words = vec!["0".to_owned(); 8];
        for field in self.node.gro.fields.iter().filter(|field| into(field) == Some("addresses")) {
            let first = field.into.as_ref().map_or(0, |(_, shift)| *shift) / 32;
            let count = field.length / 4;
            if field.mask.is_some() || field.offset % 4 != 0 || field.length % 4 != 0 || first + count > 8 {
                return Err(refuse(self.node, format!("\"{}\" is no address of whole words", field.name)));
            }
            for index in 0..count {
                words[(first + index) as usize] = self.words.word(field.offset / 4 + index, 0..4);
            }
        }
        Ok(words)
    }

    /// What follows.
    fn next(&mut self, end: &str) -> Result<(), Unsupported> {
        let node = self.node;
        // A result, or a header that cannot be none.
        let (follower, may_fail) = match (node.next, node.next_node) {
            (Some(next), _) => {
                let key = self.value(next.field, "next-proto")?;
                let _ = writeln!(self.body, "let key = {key};");
                let found = look_up(self.graph, next.table);
                match (next.wildcard.and_then(|index| self.graph.nodes.get(index)), &node.gro.unknown_next) {
                    (Some(other), _) => {
                        (format!("{found}.unwrap_or(Header::{})", constant(&other.name)), false)
                    }
                    (None, Some(why)) => (format!("{found}.ok_or(Bypass::{})", reason(why)), true),
                    (None, None) => return Err(refuse(node, "\"bypass\" has no \"unknown-next\"")),
                }
            }
            (None, Some(index)) => (format!("Header::{}", constant(&self.graph.nodes[index].name)), false),
            (None, None) => {
                let _ = writeln!(self.body, "Ok(Parsed::Whole)");
                return Ok(());
            }
        };
        if node.encap {
            let question = if may_fail { "?" } else { "" };
            let _ = writeln!(self.body, "let next = {follower}{question};");
            let _ = match (node.gro.rest, identity_rule(node)) {
                (Some(FieldRule::Identify), Some(rule)) => {
                    writeln!(self.body, "Ok(packet.pause::<P>({rule}, at, {end}, next))")
                }
                _ => writeln!(self.body, "Ok(packet.goes_on({end}, next))"),
            };
            return Ok(());
        }
        if !node.overlay {
            let key = if node.next.is_some() { "key" } else { "key: cursor.key" };
            let _ = writeln!(self.body, "*cursor = Cursor {{ at: {end}, {key} }};");
        }
        let _ =
            if may_fail { writeln!(self.body, "{follower}") } else { writeln!(self.body, "Ok({follower})") };
        Ok(())
    }

    fn finish(self, parser: &Parser, is_root: bool) -> Function {
        let Self { node, words, body, .. } = self;
        let ends = node.encap || node.next.is_none() && node.next_node.is_none();
        let mut text = String::new();
        if let Some(need) = &node.gro.requires {
            let off = match is_on(&need.switch).split_once(" == ") {
                Some((left, right)) => format!("{left} != {right}"),
                None => is_on(&need.switch).replace("!= 0", "== 0"),
            };
            let (unless, why) = (unless_off(node, "requires"), reason(&need.bypass));
            let _ = writeln!(text, "if {off}{unless} {{ return Err(Bypass::{why}); }}");
        }
        if node.gro.is_session() {
            let _ = writeln!(text, "packet.session(cursor.at)?;");
        }
        let _ = writeln!(text, "let at = cursor.at;");
        if node.min_length > 0 {
            let _ = writeln!(text, "fits(window, {})?;", plus(node.min_length));
        }
        if is_root {
            let most = parser.gro.max_frame_length;
            let _ = writeln!(text, "if window.len() > {most} {{ return Err(Bypass::TooLong); }}");
        }
        let body = words.resolve(&body, |word| names(node, word));
        for line in body.lines() {
            // Brackets around all of a value.
            match line.strip_prefix("let key = (").and_then(|rest| rest.strip_suffix(");")) {
                Some(value) => text += &format!("let key = {value};\n"),
                None => text += &format!("{line}\n"),
            }
        }
        let name = |word: &'static str| {
            let used = text.contains(word);
            if used { word.to_owned() } else { format!("_{word}") }
        };
        let needs_profile = text.contains("P::on") || text.contains("::<P>");
        let profile = if needs_profile { "<P: Profile>" } else { "" };
        let text = format!(
            "/// Header `{}`.\n#[inline(always)]\nfn {}{profile}(\n{}: &Window<'_>, {}: &Config, {}: &mut Packet, cursor: &mut Cursor,\n) -> Result<{}, Bypass> {{\n{text}}}\n\n",
            node.name,
            function_name(&node.name),
            name("window"),
            name("config"),
            name("packet"),
            if ends { "Parsed" } else { "u32" },
        );
        Function { text, needs_profile }
    }
}

/// The length of a header of which a condition demands one value for the field that states it.
fn fixed_length(node: &Node, length: HeaderLength) -> Option<u32> {
    let HeaderLength::Computed { field, multiplier, add } = length else { return None };
    let fixed = node.conditions.iter().find_map(|condition| match condition.test {
        Test::Compare { comparison: Comparison::Equal, field: tested, value } => {
            let same = (tested.offset, tested.length) == (field.offset, field.length);
            let covered = field.mask & !tested.mask == 0;
            (same && covered).then_some((value << tested.shift & field.mask) >> field.shift)
        }
        _ => None,
    })?;
    u32::try_from(i128::from(fixed) * i128::from(multiplier) + i128::from(add)).ok()
}

/// The fields in a word.
fn names(node: &Node, word: u32) -> String {
    let bytes = 4 * word..4 * word + 4;
    let inside = |field: &&GroField| field.offset < bytes.end && field.offset + field.length > bytes.start;
    let names: Vec<&str> = node.gro.fields.iter().filter(inside).map(|field| field.name.as_str()).collect();
    if names.is_empty() { "the field that says what follows".to_owned() } else { names.join(", ") }
}

fn into(field: &GroField) -> Option<&str> {
    field.into.as_ref().map(|(word, _)| word.as_str())
}

fn bracketed(text: &str) -> String {
    // A word that is not yet resolved may become more than a name.
    let plain = text.chars().all(|sign| sign.is_ascii_alphanumeric() || sign == '_');
    if plain { text.to_owned() } else { format!("({text})") }
}

fn literal(value: u64) -> String {
    if value < 10 { value.to_string() } else { format!("{value:#x}") }
}
