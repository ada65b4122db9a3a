//! The view in a terminal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::columns::{GAP, fitting};
use super::report::{Report, Row};
use super::sample::Sample;
use super::text::{error_line, summary};
use crate::admin::AdminAddr;
use crate::printable;
use crate::terminal;

/// How often keys and signals are looked at.
const TURN: Duration = Duration::from_millis(50);

/// The time between the first two samples: short, so that the first rates are shown soon.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);

/// The maximum number of lines for errors.
const MAX_ERROR_LINES: usize = 6;

/// How far a page key scrolls, in rows.
const PAGE_ROWS: usize = 10;

/// What the view shows.
#[derive(Debug)]
struct View {
    report: Report,
    /// Why the server doesn't answer now.
    away: Option<String>,
    /// The number of rows above the first one that is shown.
    offset: usize,
    has_colours: bool,
}

/// Shows a server until the user ends it with `q`, Escape or Ctrl-C, or a signal does.
///
/// # Errors
///
/// Fails if the terminal can't be used, or the server doesn't answer the first time.
pub(crate) fn show(addr: AdminAddr, interval: Duration) -> anyhow::Result<()> {
    let first = Sample::read(&addr)?;
    let view = View {
        report: Report::between(&first, &first),
        away: None,
        offset: 0,
        has_colours: terminal::has_colours(&io::stdout()),
    };
    let ends = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        flag::register(signal, ends.clone()).context("can't handle signals")?;
    }
    let reports = follow(addr, first, interval)?;
    let mut terminal = ratatui::try_init().context("can't use the terminal")?;
    let result = run(view, &reports, &ends, |view| {
        terminal.draw(|frame| draw(frame, view)).map(drop)
    });
    ratatui::restore();
    result.context("can't use the terminal")
}

/// Asks the server again and again, on a new thread, until the receiver is dropped.
fn follow(
    addr: AdminAddr,
    first: Sample,
    interval: Duration,
) -> anyhow::Result<Receiver<anyhow::Result<Report>>> {
    let (sender, reports) = sync_channel(1);
    let follow = move || {
        let mut before = first;
        let mut pause = interval.min(FIRST_INTERVAL);
        loop {
            thread::sleep(pause);
            pause = interval;
            let report = Sample::read(&addr).map(|now| {
                let report = Report::between(&before, &now);
                before = now;
                report
            });
            if sender.send(report).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("wasgi-top".into())
        .spawn(follow)
        .context("can't start a thread")?;
    Ok(reports)
}

fn run(
    mut view: View,
    reports: &Receiver<anyhow::Result<Report>>,
    ends: &AtomicBool,
    mut draw: impl FnMut(&View) -> io::Result<()>,
) -> io::Result<()> {
    let mut is_changed = true;
    while !ends.load(Ordering::Relaxed) {
        if let Ok(report) = reports.try_recv() {
            view.take(report);
            is_changed = true;
        }
        if is_changed {
            draw(&view)?;
        }
        is_changed = event::poll(TURN)?;
        if is_changed && view.react(&event::read()?) == Next::End {
            break;
        }
    }
    Ok(())
}

/// What follows an event.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

impl View {
    fn take(&mut self, report: anyhow::Result<Report>) {
        match report {
            Ok(report) => {
                self.report = report;
                self.away = None;
            }
            Err(error) => {
                let error = format!("{error:#}");
                self.away = Some(printable::one_line(&error).to_string());
            }
        }
        self.scroll(self.offset);
    }

    fn react(&mut self, event: &Event) -> Next {
        let Event::Key(KeyEvent {
            code,
            modifiers,
            kind: KeyEventKind::Press | KeyEventKind::Repeat,
            ..
        }) = event
        else {
            return Next::Continue;
        };
        let offset = self.offset;
        match code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Next::End,
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return Next::End,
            KeyCode::Up => self.scroll(offset.saturating_sub(1)),
            KeyCode::Down => self.scroll(offset + 1),
            KeyCode::PageUp => self.scroll(offset.saturating_sub(PAGE_ROWS)),
            KeyCode::PageDown => self.scroll(offset + PAGE_ROWS),
            KeyCode::Home => self.scroll(0),
            KeyCode::End => self.scroll(usize::MAX),
            _ => {}
        }
        Next::Continue
    }

    fn scroll(&mut self, offset: usize) {
        self.offset = offset.min(self.report.routes.len().saturating_sub(1));
    }

    fn style(&self, colour: Color) -> Style {
        match self.has_colours {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    let errors = &view.report.errors;
    let error_lines = errors
        .len()
        .min(MAX_ERROR_LINES)
        .min(usize::from(area.height) / 3);
    let [top, notice, table, bottom, footer] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(u16::try_from(error_lines).unwrap_or(0)),
        Constraint::Length(1),
    ])
    .areas(area);
    let [first, second] = summary(&view.report);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let lines = vec![Line::styled(first, bold), Line::raw(second)];
    frame.render_widget(Paragraph::new(lines), top);
    if let Some(away) = &view.away {
        let line = Line::styled(format!("{away}; trying again"), view.style(Color::Red));
        frame.render_widget(Paragraph::new(line), notice);
    }
    draw_table(frame, view, table);
    let lines = errors.iter().take(error_lines);
    let lines: Vec<Line<'_>> = lines
        .map(|error| Line::styled(error_line(error), view.style(Color::Red)))
        .collect();
    frame.render_widget(Paragraph::new(lines), bottom);
    let keys = Line::styled("q quit  ↑ ↓ scroll", view.style(Color::DarkGray));
    frame.render_widget(Paragraph::new(keys), footer);
}

fn draw_table(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let columns = fitting(usize::from(area.width));
    let widths = columns.iter().map(|(_, width)| *width);
    let widths = widths.map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
    let aligned = |text: String, is_right| {
        let alignment = match is_right {
            true => Alignment::Right,
            false => Alignment::Left,
        };
        Cell::from(Line::from(text).alignment(alignment))
    };
    let titles = columns.iter();
    let titles = titles.map(|(column, _)| aligned(column.title.to_owned(), column.is_right));
    let header = TableRow::new(titles).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = view.report.routes.iter().skip(view.offset);
    // The header is the first line.
    let rows = rows.take(usize::from(area.height).saturating_sub(1));
    let rows = rows.map(|row: &Row| {
        let cells = columns.iter();
        let cells = cells.map(|(column, _)| aligned((column.cell)(row), column.is_right));
        match row.errors_per_second > 0.0 {
            true => TableRow::new(cells).style(view.style(Color::Red)),
            false => TableRow::new(cells),
        }
    });
    let gap = u16::try_from(GAP).unwrap_or(1);
    let table = Table::new(rows, widths).header(header).column_spacing(gap);
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::report::tests::report;
    use super::*;

    fn view(has_colours: bool) -> View {
        View {
            report: report(),
            away: None,
            offset: 0,
            has_colours,
        }
    }

    /// Returns the lines of a screen, and whether it has colours.
    fn drawn(view: &View, width: u16, height: u16) -> (Vec<String>, bool) {
        let backend = TestBackend::new(width, height);
        let mut terminal = Terminal::new(backend).expect("a terminal");
        terminal.draw(|frame| draw(frame, view)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let line = |y| {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        let is_coloured = |cell: &ratatui::buffer::Cell| cell.fg != Color::Reset;
        let has_colours = buffer.content().iter().any(is_coloured);
        ((0..height).map(line).collect(), has_colours)
    }

    fn press(view: &mut View, code: KeyCode, modifiers: KeyModifiers) -> Next {
        view.react(&Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn a_screen_has_the_summary_the_routes_and_the_errors() {
        let (lines, has_colours) = drawn(&view(true), 110, 20);
        let screen = lines.join("\n");
        assert!(
            lines[0].starts_with("wasgi 0.1.0: ready, up 1 h 2 min"),
            "{screen}"
        );
        assert!(lines[3].starts_with("ROUTE "), "{screen}");
        assert!(lines[3].ends_with("KIND       VERSION"), "{screen}");
        assert!(lines[4].starts_with("/hello "), "{screen}");
        assert!(lines[4].ends_with("0123456789ab"), "{screen}");
        assert!(
            screen.contains("handlers/broken.wat: not\\u{1b}[31m loaded"),
            "{screen}"
        );
        assert_eq!(lines[19], "q quit  ↑ ↓ scroll");
        assert!(has_colours);
        assert!(!drawn(&view(false), 110, 20).1, "NO_COLOR");
    }

    #[test]
    fn each_size_can_be_drawn_and_a_narrow_screen_keeps_the_rates() {
        for width in (1..130).step_by(6) {
            for height in [1, 2, 3, 5, 8, 24] {
                drawn(&view(true), width, height);
            }
        }
        let (lines, _) = drawn(&view(true), 40, 12);
        assert_eq!(lines[3].split_whitespace().count(), 5, "{lines:?}");
        assert!(
            lines[4].starts_with("/hello ") && lines[4].contains(" 12.0 "),
            "{lines:?}"
        );
    }

    #[test]
    fn a_server_that_is_away_is_one_line_until_it_answers_again() {
        let mut view = view(true);
        view.take(Err(anyhow::anyhow!("127.0.0.1:9000: no\nanswer")));
        let (lines, _) = drawn(&view, 110, 20);
        assert_eq!(lines[2], "127.0.0.1:9000: no\\nanswer; trying again");
        assert!(
            lines[4].starts_with("/hello "),
            "the last values stay: {lines:?}"
        );
        view.take(Ok(report()));
        assert_eq!(drawn(&view, 110, 20).0[2], "");
    }

    #[test]
    fn keys_scroll_and_end() {
        let mut view = view(true);
        let none = KeyModifiers::NONE;
        for (key, offset) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::PageDown, 2),
            (KeyCode::Down, 2),
            (KeyCode::Home, 0),
            (KeyCode::End, 2),
            (KeyCode::Char('x'), 2),
            (KeyCode::Char('c'), 2),
        ] {
            assert_eq!(press(&mut view, key, none), Next::Continue);
            assert_eq!(view.offset, offset, "{key:?}");
        }
        let (lines, _) = drawn(&view, 110, 20);
        assert!(lines[4].starts_with("(pages) "), "{lines:?}");
        for (key, modifiers) in [
            (KeyCode::Char('q'), none),
            (KeyCode::Esc, none),
            (KeyCode::Char('c'), KeyModifiers::CONTROL),
        ] {
            assert_eq!(press(&mut view, key, modifiers), Next::End);
        }
    }
}
