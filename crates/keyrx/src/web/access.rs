//! Who may ask for what.
//!
//! Everything is for programs on this machine that address it by a name of this machine: a page of another origin, or
//! one whose name was pointed here, is turned away whatever it asks for. All but health and metrics is for who has the
//! token, which only the user can read, or a session that was begun with it. Nothing of this is in a cookie: cookies go to
//! every port of this machine, and so to the servers of other users.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use keyrx_platform::lock::Guarded;

use crate::paths;

/// How long a session lasts, and how long a code is good with which one is begun.
const SESSION: Duration = Duration::from_secs(12 * 60 * 60);
const CODE: Duration = Duration::from_secs(60);

/// So many of each are known; of more the oldest is forgotten.
const MOST: usize = 32;

/// The protocol that is spoken on a WebSocket. A page, which can give a WebSocket no `Authorization`, offers its session
/// beside it, as the name of another protocol; that one is never chosen.
pub const PROTOCOL: &str = "keyrx";
const SESSION_PROTOCOL: &str = "keyrx.session.";

/// By what names this machine may be addressed.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

pub struct Access {
    path: PathBuf,
    /// Once it was read or made: `None` if nobody has it.
    token: OnceLock<Option<String>>,
    passes: Guarded<Passes>,
}

#[derive(Default)]
struct Passes {
    sessions: Vec<Pass>,
    codes: Vec<Pass>,
}

/// A secret that is good for a while.
struct Pass {
    secret: String,
    until: Instant,
}

/// Until when who was let in may stay: by the token, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay(pub Option<Instant>);

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It was sent to a name that is none of this machine's.
    Host,
    /// A page of another origin asks.
    Origin,
    /// It has no token, or not the right one.
    Token,
}

impl Access {
    /// By the token in a file.
    pub fn new(path: PathBuf) -> Access {
        Access { path, token: OnceLock::new(), passes: Guarded::default() }
    }

    /// The token, which is made if there is none. That may take a while: a system that has just started has no random
    /// numbers yet.
    pub fn token(&self) -> Option<&str> {
        self.token.get_or_init(|| self.find_token()).as_deref()
    }

    fn find_token(&self) -> Option<String> {
        let path = &self.path;
        let token = match read_token(path) {
            Some(token) => Ok(token),
            None => make_token(path),
        };
        let token = token.inspect_err(|error| {
            tracing::warn!(
                event = "token_unusable",
                path = %path.display(),
                error = %error,
                "no command and no page can be let in: the token cannot be kept in {}: {error}",
                path.display()
            );
        });
        token.ok()
    }

    /// Whether a request comes from this machine and for it.
    pub fn is_ours(uri: &Uri, headers: &HeaderMap) -> Result<(), Denied> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
            _ => None,
        };
        let host = host.filter(is_name).ok_or(Denied::Host)?;
        if uri.authority().is_some_and(|named| *named != host) {
            return Err(Denied::Host);
        }
        for origin in headers.get_all(ORIGIN) {
            let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
            let origin = origin.and_then(|origin| origin.parse::<Authority>().ok());
            // The port, too: another server on this machine is another origin.
            if origin.filter(|origin| is_name(origin) && origin.port_u16() == host.port_u16()).is_none() {
                return Err(Denied::Origin);
            }
        }
        // An image, a script or a frame has no origin, but browsers say whose page asks. A link may be followed.
        let said = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let is_foreign = matches!(said("sec-fetch-site"), Some("cross-site" | "same-site"));
        if is_foreign && !headers.contains_key(ORIGIN) && said("sec-fetch-dest") != Some("document") {
            return Err(Denied::Origin);
        }
        Ok(())
    }

    /// Lets in a request that has the token, or is of a session.
    pub fn admit(&self, headers: &HeaderMap, now: Instant) -> Result<Stay, Denied> {
        let stay = match headers.get(AUTHORIZATION) {
            Some(said) => {
                let said = said.to_str().ok().and_then(|said| said.strip_prefix("Bearer "));
                said.and_then(
                    |said| if self.is_token(said) { Some(Stay(None)) } else { self.session(said, now) },
                )
            }
            None => offered_session(headers).and_then(|said| self.session(said, now)),
        };
        stay.ok_or(Denied::Token)
    }

    fn is_token(&self, said: &str) -> bool {
        self.token().is_some_and(|token| is_same(said, token))
    }

    fn session(&self, said: &str, now: Instant) -> Option<Stay> {
        self.passes.with(|passes| {
            passes.sessions.retain(|pass| pass.until > now);
            let session = passes.sessions.iter().find(|pass| is_same(said, &pass.secret))?;
            Some(Stay(Some(session.until)))
        })
    }

    /// A code, with which a session can be begun, once and soon.
    pub fn code(&self, now: Instant) -> Option<String> {
        self.passes.with(|passes| give(&mut passes.codes, now, CODE))
    }

    /// Begins a session; `None` if the code is not, or no longer, good.
    pub fn begin_session(&self, code: &str, now: Instant) -> Option<String> {
        self.passes.with(|passes| {
            passes.codes.retain(|pass| pass.until > now);
            let place = passes.codes.iter().position(|pass| is_same(code, &pass.secret))?;
            passes.codes.remove(place);
            give(&mut passes.sessions, now, SESSION)
        })
    }
}

fn give(passes: &mut Vec<Pass>, now: Instant, term: Duration) -> Option<String> {
    let secret = secret().ok()?;
    passes.retain(|pass| pass.until > now);
    if passes.len() >= MOST {
        passes.remove(0);
    }
    passes.push(Pass { secret: secret.clone(), until: now.checked_add(term)? });
    Some(secret)
}

fn is_name(authority: &Authority) -> bool {
    // No user before it, and a port that is one.
    let host = authority.host();
    let rest = authority.as_str().strip_prefix(host).unwrap_or("@");
    let is_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    is_port && NAMES.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// The session among the protocols that are offered for a WebSocket.
fn offered_session(headers: &HeaderMap) -> Option<&str> {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|offers| offers.to_str().ok());
    let mut protocols = offers.flat_map(|offers| offers.split(','));
    protocols.find_map(|protocol| protocol.trim().strip_prefix(SESSION_PROTOCOL))
}

/// Whether a secret is the right one, in a time that does not depend on how much of it is.
fn is_same(said: &str, secret: &str) -> bool {
    let differences = said.bytes().zip(secret.bytes()).fold(0, |all, (one, other)| all | (one ^ other));
    said.len() == secret.len() && differences == 0
}

/// 32 random bytes, in hexadecimal digits.
fn secret() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The token in a file; `None` if there is none.
pub fn read_token(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(100).read_to_string(&mut text).ok()?;
    let token = text.trim();
    (token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| token.to_owned())
}

/// A new token, which only the user can read, or whoever else is to.
fn make_token(path: &Path) -> io::Result<String> {
    let token = secret()?;
    // What is in the way may be a link to somewhere else, or readable by others.
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    let mut file = paths::private(options.write(true).create_new(true)).open(path)?;
    file.write_all(format!("{token}\n").as_bytes())?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::testing::directory;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            ((*name).parse().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        HeaderMap::from_iter(pairs.iter().map(pair))
    }

    fn access(test: &str) -> Access {
        Access::new(directory(test).join("token"))
    }

    #[test]
    fn only_names_of_this_machine_and_its_own_pages_are_served() {
        let check = |host: &str, origin: Option<&str>| {
            let mut pairs = vec![("host", host)];
            pairs.extend(origin.map(|origin| ("origin", origin)));
            Access::is_ours(&Uri::from_static("/health"), &headers(&pairs))
        };
        for host in ["127.0.0.1:9867", "localhost:9867", "LOCALHOST", "[::1]:9867"] {
            assert_eq!(check(host, None), Ok(()), "{host}");
        }
        let wrong = [
            "evil.example:9867",
            "127.0.0.1.evil.example",
            "localhost.evil.example:9867",
            "me@localhost:9867",
            "localhost:99999",
            "192.168.0.1:9867",
            "0.0.0.0:9867",
            "[::]:9867",
            "",
        ];
        for host in wrong {
            assert_eq!(check(host, None), Err(Denied::Host), "{host}");
        }
        assert_eq!(check("127.0.0.1:9867", Some("http://localhost:9867")), Ok(()));
        let foreign = [
            "http://evil.example",
            "null",
            "https://127.0.0.1:9867",
            "http://127.0.0.1:8080",
            "http://127.0.0.1",
            "",
        ];
        for origin in foreign {
            assert_eq!(check("127.0.0.1:9867", Some(origin)), Err(Denied::Origin), "{origin}");
        }
        let none = Access::is_ours(&Uri::from_static("/health"), &HeaderMap::new());
        let absolute = Uri::from_static("http://evil.example/health");
        let two = Access::is_ours(&absolute, &headers(&[("host", "127.0.0.1:9867")]));
        assert_eq!((none, two), (Err(Denied::Host), Err(Denied::Host)));
    }

    #[test]
    fn what_another_page_loads_is_not_served_but_a_link_may_be_followed() {
        let check = |site: &str, dest: &str| {
            let pairs = [("host", "localhost:9867"), ("sec-fetch-site", site), ("sec-fetch-dest", dest)];
            Access::is_ours(&Uri::from_static("/api/keymap"), &headers(&pairs))
        };
        for dest in ["script", "image", "iframe", "empty"] {
            assert_eq!(check("same-site", dest), Err(Denied::Origin), "{dest}");
            assert_eq!(check("cross-site", dest), Err(Denied::Origin), "{dest}");
            assert_eq!(check("same-origin", dest), Ok(()), "{dest}");
        }
        assert_eq!((check("cross-site", "document"), check("none", "document")), (Ok(()), Ok(())));
    }

    #[test]
    fn the_token_lets_in_and_nothing_like_it() {
        let path = directory("access-token").join("token");
        let access = Access::new(path.clone());
        let token = access.token().unwrap().to_owned();
        let known =
            |value: &str| access.admit(&headers(&[("authorization", value)]), Instant::now()).map(|_| ());
        assert_eq!(known(&format!("Bearer {token}")), Ok(()));
        let mut other = token.clone();
        other.replace_range(..1, if token.starts_with('0') { "1" } else { "0" });
        for wrong in [&token, &format!("Bearer {other}"), &format!("Bearer {token}0"), "Bearer ", ""] {
            assert_eq!(known(wrong), Err(Denied::Token), "{wrong}");
        }
        assert_eq!(access.admit(&HeaderMap::new(), Instant::now()), Err(Denied::Token));
        assert_eq!(read_token(&path), Some(token.clone()));
        drop(access);
        assert_eq!(Access::new(path.clone()).token(), Some(token.as_str()), "a restart keeps it");
        fs::write(&path, "short").unwrap();
        assert!(Access::new(path).token().is_some_and(|new| new.len() == 64));
    }

    #[test]
    #[cfg(unix)]
    fn only_the_user_can_read_the_token() {
        use std::os::unix::fs::PermissionsExt;

        let path = directory("access-mode").join("token");
        fs::write(&path, "of somebody else").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Access::new(path.clone()).token().is_some());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_code_begins_one_session_and_both_come_to_an_end() {
        let access = access("access-session");
        let now = Instant::now();
        let later = |term: Duration| now.checked_add(term).unwrap();
        let code = access.code(now).unwrap();
        assert_eq!(access.begin_session("wrong", now), None);
        let session = access.begin_session(&code, now).unwrap();
        assert_eq!(access.begin_session(&code, now), None, "a second time");
        let code = access.code(now).unwrap();
        assert_eq!(access.begin_session(&code, later(CODE)), None, "too late");
        let bearer = format!("Bearer {session}");
        let known = |name, value: &str, now| access.admit(&headers(&[(name, value)]), now).map(|_| ());
        for (name, value) in [("authorization", &bearer), ("sec-websocket-protocol", &offer(&session))] {
            assert_eq!(known(name, value, now), Ok(()), "{name}");
            let almost = later(SESSION.checked_sub(Duration::from_millis(1)).unwrap());
            assert_eq!(known(name, value, almost), Ok(()), "{name}");
        }
        for (name, value) in [("authorization", &bearer), ("sec-websocket-protocol", &offer(&session))] {
            assert_eq!(known(name, value, later(SESSION)), Err(Denied::Token), "{name}");
        }
    }

    fn offer(session: &str) -> String {
        format!("{PROTOCOL}, {SESSION_PROTOCOL}{session}")
    }

    #[test]
    fn a_session_lets_in_by_its_two_ways_and_by_no_other() {
        let access = access("access-ways");
        let now = Instant::now();
        let session = access.begin_session(&access.code(now).unwrap(), now).unwrap();
        let token = access.token().unwrap();
        let other = session.chars().rev().collect::<String>();
        let check = |pairs: &[_]| access.admit(&headers(pairs), now).map(|_| ());
        let cookie = format!("keyrx={session}");
        let offered = offer(&session);
        let wrong: [&[(&'static str, &str)]; 8] = [
            &[("cookie", &cookie)],
            &[("cookie", &cookie), ("origin", "http://127.0.0.1:9867")],
            &[("authorization", &session)],
            &[("authorization", &format!("Bearer {other}"))],
            &[("sec-websocket-protocol", PROTOCOL)],
            &[("sec-websocket-protocol", &offer(&other))],
            &[("sec-websocket-protocol", &offer(token))],
            &[("authorization", "Bearer 0"), ("sec-websocket-protocol", &offered)],
        ];
        for pairs in wrong {
            assert_eq!(check(pairs), Err(Denied::Token), "{pairs:?}");
        }
        // In whatever order and in however many lines the protocols are offered.
        let alone = format!("{SESSION_PROTOCOL}{session}");
        let turned = format!("{alone},{PROTOCOL}");
        assert_eq!(check(&[("sec-websocket-protocol", &turned)]), Ok(()));
        let mut lines = headers(&[("sec-websocket-protocol", PROTOCOL)]);
        lines.append(SEC_WEBSOCKET_PROTOCOL, alone.parse().unwrap());
        assert_eq!(access.admit(&lines, now), Ok(Stay(now.checked_add(SESSION))));
        let bearer = headers(&[("authorization", &format!("Bearer {token}"))]);
        assert_eq!(access.admit(&bearer, now), Ok(Stay(None)));
    }

    #[test]
    fn what_is_given_out_is_limited() {
        let access = access("access-limit");
        let now = Instant::now();
        let first = access.code(now).unwrap();
        for _ in 0..MOST {
            access.code(now).unwrap();
        }
        assert_eq!(access.begin_session(&first, now), None);
    }
}
