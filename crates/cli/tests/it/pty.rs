//! The program on a real terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::home::Home;
use crate::voyage::now;

/// A machine under load may be this slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal with the program on all three of its ends.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// Everything that was shown so far.
    shown: String,
    /// How far `expect` has read it.
    at: usize,
}

impl Terminal {
    /// Starts the program on a terminal that is so many columns wide.
    pub(crate) fn start(home: &Home, columns: u16, arguments: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end: OwnedFd = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap();
        let mut command = home.command();
        command.env("TERM", "xterm-256color").args(arguments);
        command.stdin(end.try_clone().unwrap()).stdout(end.try_clone().unwrap()).stderr(end);
        let child = command.spawn().unwrap();
        // The command holds the program's end of the terminal open, which would hide that the program is gone.
        drop(command);
        let (keyboard, mut shown) = (File::from(master.try_clone().unwrap()), File::from(master));
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = shown.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, shown: String::new(), at: 0 }
    }

    /// Waits until this is shown after what was expected before.
    pub(crate) fn expect(&mut self, words: &str) {
        let until = now() + PATIENCE;
        loop {
            if let Some(found) = self.shown[self.at..].find(words) {
                self.at += found + words.len();
                return;
            }
            let left = until.saturating_duration_since(now());
            let Ok(bytes) = self.screen.recv_timeout(left) else {
                panic!("`{words}` was not shown: {}", &self.shown);
            };
            self.shown += &String::from_utf8_lossy(&bytes);
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end: the code, and everything that was shown, with the line ends of a file.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        loop {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.shown += &String::from_utf8_lossy(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end: {}", self.shown),
            }
        }
        let code = self.child.wait().unwrap().code();
        (code, self.shown.replace("\r\n", "\n"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves no program that waits for an answer; one that ended by itself is not ended twice.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
