//! What the tray shows and what can be chosen there: the same on every system. `native::Tray` is the icon itself.

/// How keyrx is, as the icon tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// All is well.
    #[default]
    Healthy,
    /// Something is not as it should be; keys are mapped.
    Degraded,
    /// Keys are not mapped as they should be.
    Unhealthy,
    /// Mapping is paused.
    Paused,
}

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The icon.
    pub state: State,
    /// One line: the first of the menu, and the tooltip.
    pub text: String,
}

/// What the user has chosen from the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Keys are to pass.
    Pause,
    /// Keys are to be mapped again.
    Resume,
    /// The keymap is to be read again.
    Reload,
    /// The page is to be opened.
    Open,
    /// The end.
    Exit,
}

impl Choice {
    /// All, in the order of their numbers.
    pub const ALL: [Choice; 5] = [Choice::Pause, Choice::Resume, Choice::Reload, Choice::Open, Choice::Exit];
}

impl Look {
    /// What may be chosen, from top to bottom.
    pub(crate) fn menu(&self) -> [(Choice, &'static str); 4] {
        let pause = match self.state {
            State::Paused => (Choice::Resume, "Resume mapping"),
            State::Healthy | State::Degraded | State::Unhealthy => (Choice::Pause, "Pause mapping"),
        };
        let (reload, open) = ((Choice::Reload, "Reload the keymap"), (Choice::Open, "Open the page"));
        [pause, reload, open, (Choice::Exit, "Exit keyrx")]
    }
}

/// How many pixels of an icon are one of the drawing, in each direction, from the smallest icon that is needed.
const CELLS: usize = 16;

/// What stands on the key cap: the state is to be seen without colors, too.
const SIGN: usize = 6;

impl State {
    /// The color of the key cap, and its sign, a row of it a byte.
    fn drawing(self) -> (u32, [u8; SIGN]) {
        match self {
            // K
            State::Healthy => (0x2E7D32, [0b100010, 0b100100, 0b111000, 0b111000, 0b100100, 0b100010]),
            // !
            State::Degraded => (0xB26A00, [0b001100, 0b001100, 0b001100, 0b001100, 0b000000, 0b001100]),
            // X
            State::Unhealthy => (0xC62828, [0b100001, 0b010010, 0b001100, 0b001100, 0b010010, 0b100001]),
            // ||
            State::Paused => (0x546E7A, [0b110011, 0b110011, 0b110011, 0b110011, 0b110011, 0b110011]),
        }
    }

    /// A square of `size` pixels in each direction, row by row, each 0xAARRGGBB.
    pub(crate) fn icon(self, size: usize) -> Vec<u32> {
        let (color, sign) = self.drawing();
        let cell = |pixel: usize| pixel * CELLS / size.max(1);
        let pixel = move |x: usize, y: usize| {
            let from_edge = |at: usize| at.min((CELLS - 1).saturating_sub(at));
            if from_edge(x) + from_edge(y) < 2 {
                return 0; // a round corner
            }
            let begin = (CELLS - SIGN) / 2;
            let row = y.checked_sub(begin).and_then(|row| sign.get(row)).copied().unwrap_or_default();
            let column = x.checked_sub(begin).filter(|column| *column < SIGN);
            let is_sign = column.is_some_and(|column| row >> (SIGN - 1 - column) & 1 == 1);
            0xFF00_0000 | if is_sign { 0xFF_FFFF } else { color }
        };
        (0..size).flat_map(|y| (0..size).map(move |x| pixel(cell(x), cell(y)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 4] = [State::Healthy, State::Degraded, State::Unhealthy, State::Paused];

    /// `#` for the sign, `.` for the key cap, a space where nothing is.
    fn draw(state: State, size: usize) -> String {
        let (color, _) = state.drawing();
        let pixels = state.icon(size).into_iter().map(|pixel| match pixel {
            0 => ' ',
            0xFFFF_FFFF => '#',
            pixel if pixel == 0xFF00_0000 | color => '.',
            pixel => panic!("{pixel:x}"),
        });
        pixels.collect()
    }

    #[test]
    fn an_icon_has_round_corners_and_its_sign_in_the_middle() {
        let drawn = draw(State::Degraded, 16);
        let rows = drawn.as_bytes().chunks(16).map(|row| str::from_utf8(row).unwrap()).collect::<Vec<_>>();
        assert_eq!(rows.len(), 16);
        assert_eq!((rows[0], rows[15]), ("  ............  ", "  ............  "));
        assert_eq!((rows[1], rows[8]), (" .............. ", ".......##......."));
    }

    #[test]
    fn every_state_is_to_be_told_apart_without_colors_at_every_size() {
        for size in [16, 20, 22, 24, 32, 48, 64] {
            let drawn = STATES.map(|state| draw(state, size));
            assert!(drawn.iter().all(|icon| icon.chars().count() == size * size));
            let is_same = |at: usize| drawn[..at].contains(&drawn[at]);
            assert!(!(0..STATES.len()).any(is_same), "two are the same at {size}");
        }
    }

    #[test]
    fn what_is_paused_can_be_resumed_and_the_other_way_round() {
        for state in STATES {
            let menu = Look { state, text: String::new() }.menu().map(|(choice, _)| choice);
            let pause = if state == State::Paused { Choice::Resume } else { Choice::Pause };
            assert_eq!(menu, [pause, Choice::Reload, Choice::Open, Choice::Exit]);
        }
    }
}
