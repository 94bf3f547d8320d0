//! Texts that end a sequence, found in a stream of pieces.

/// Passes text on until one of some texts comes; holds back what may be the beginning of one.
#[derive(Clone, Debug)]
pub struct StopTexts {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopTexts {
    /// Looks for `stops`; empty ones are left out.
    pub fn new(stops: &[String]) -> StopTexts {
        StopTexts {
            stops: stops
                .iter()
                .filter(|stop| !stop.is_empty())
                .cloned()
                .collect(),
            held: String::new(),
            stopped: false,
        }
    }

    /// Takes in `piece`; the text that is safe to show.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(piece);
        // Of several, the one that begins first.
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min();
        if let Some(at) = found {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let kept = self
            .stops
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether one of the texts has come.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// What was held back, when no more will come.
    pub fn finish(self) -> String {
        self.held
    }
}

/// Bytes at the end of `text` that `stop` begins with, but not all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(index, _)| index).rev();
    lengths
        .take_while(|length| *length > 0)
        .find(|length| text.ends_with(&stop[..*length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool, String) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut texts = StopTexts::new(&stops);
        let shown = pieces.iter().map(|piece| texts.push(piece)).collect();
        (shown, texts.stopped(), texts.finish())
    }

    #[test]
    fn a_stop_over_several_pieces() {
        let (shown, stopped, rest) = pushed(&["<end>"], &["a <e", "n", "d> b", "c"]);
        assert_eq!(
            (shown, stopped, rest.as_str()),
            (
                vec!["a ".into(), String::new(), String::new(), String::new()],
                true,
                ""
            )
        );
    }

    #[test]
    fn what_was_no_stop_is_shown() {
        let (shown, stopped, rest) = pushed(&["<end>", "aab"], &["x<en", "ough aa", "a", ""]);
        assert_eq!(
            (shown, stopped, rest.as_str()),
            (
                vec!["x".into(), "<enough ".into(), "a".into(), String::new()],
                false,
                "aa"
            )
        );
    }

    #[test]
    fn the_first_of_several_and_none() {
        assert_eq!(
            pushed(&["b", "ab"], &["xab"]),
            (vec!["x".to_owned()], true, String::new())
        );
        assert_eq!(
            pushed(&["", "é"], &["aé"]),
            (vec!["a".to_owned()], true, String::new())
        );
        assert_eq!(
            pushed(&[], &["a", "b"]),
            (vec!["a".to_owned(), "b".to_owned()], false, String::new())
        );
    }
}
