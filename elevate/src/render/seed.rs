//! A new factor's seed on the terminal: a QR code, and the URI for those who cannot scan.
//!
//! In: an otpauth URI. Out: lines for the terminal, and nowhere else.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::paint::{Line, Tone};

/// What to show. With colours the code is black on white; without, it is drawn for a dark terminal.
#[must_use]
pub fn lines(uri: &str, colour: bool) -> Vec<Line> {
    let mut lines = vec![Line::plain("Scan this with your authenticator app. It is shown once.")];
    if let Ok(code) = QrCode::new(uri.as_bytes()) {
        // The crate's "Dark" is a block in the text's colour, "Light" is a blank.
        let (module, rest) =
            if colour { (Dense1x2::Dark, Dense1x2::Light) } else { (Dense1x2::Light, Dense1x2::Dark) };
        let drawn = code.render::<Dense1x2>().dark_color(module).light_color(rest).build();
        lines.extend(drawn.lines().map(|line| Line::of(Tone::Print, line)));
    }
    lines.push(Line::plain("Or type it in: ").then(uri));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_has_its_quiet_zone_whatever_the_terminal_is() {
        let uri = "otpauth://totp/elevate:alice?secret=JBSWY3DPEHPK3PXP&issuer=elevate";
        let dark = lines(uri, false);
        let first = dark[1].render(false);
        assert!(first.chars().all(|c| c == '\u{2588}'), "a dark terminal needs a light border: {first}");
        let light = lines(uri, true);
        assert!(light[1].render(false).chars().all(|c| c == ' '));
        assert!(light[1].render(true).starts_with("\x1b[30;107m"));
        assert!(light[1..light.len() - 1].iter().all(|line| line.width() <= 80));
        assert_eq!(light.last().unwrap().render(false), format!("Or type it in: {uri}"));
    }
}
