//! A client's prompts of one session, from their arrival to the end of the turn that took them. Each is answered once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::Error;
use agent_client_protocol::v1::Responder;
use agent_client_protocol::v1::schema::{PromptRequest, PromptResponse, StopReason as Stop};
use oarlock_core::event::{AgentEvent, TurnEnded};
use oarlock_core::event::{Delivery, Entry, Event, FailureClass, Goal, InputSource, StopReason};
use oarlock_core::ids::{Seq, TurnNo};
use oarlock_core::message::Part;
use oarlock_core::prompt::answer::{self, Answer, Ask, AskError, Change};
use oarlock_core::{Admit, Command, DefaultSession, Rejection, Reply, SessionError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::content::{Attached, Prompt};
use super::error::{WireError, failed, invalid, refused};
use super::lane::{Done, Lane};
use super::work::Leash;
use crate::host::{HostError, Said};

/// Prompts of a session that wait for the end of their turn; one more is refused.
const PROMPTS_MAX: usize = 32;
/// Bytes of a session's prompts that are not read yet; one that would make them more is refused.
const PROMPT_BYTES_MAX: usize = 32 << 20;
/// How long the words of a prompt may take to be looked at, with the files that they mention.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// What is said of one that takes longer.
const UNREADABLE: &str =
    "the prompt was not read within 30 s: a file that it mentions or the store does not answer";
/// How long a slash command may take. A summary has a deadline of its own, which is shorter.
const DO_WITHIN: Duration = Duration::from_secs(10 * 60);
/// What is said of one that takes longer.
const UNDONE: &str = "the session did not say within 10 minutes that it is done";
/// How long something may take to end that is cancelled.
const STOP_WITHIN: Duration = Duration::from_millis(200);

/// A prompt that was asked.
pub(super) struct Asked {
    pub(super) request: Box<PromptRequest>,
    pub(super) responder: Responder<PromptResponse>,
    /// Its room among those that no lane has taken.
    pub(super) _room: OwnedSemaphorePermit,
}

impl Asked {
    /// Answers that it cannot be worked on.
    pub(super) fn refuse(self, error: Error) {
        answer_with(self.responder, Err(error));
    }
}

/// What became of reading a prompt.
pub(super) struct Read {
    prompt: u64,
    said: Result<Said, HostError>,
    attached: Vec<Attached>,
}

/// What became of a slash command.
pub(super) struct Told {
    prompt: u64,
    /// Nothing when it did not end in time.
    how: Option<Result<Answer, AskError>>,
    /// The last entry of the session after it.
    tip: Seq,
}

/// How far a prompt is.
enum Stage {
    Unread(Prompt),
    /// Its words are looked at, for as long as this is held.
    Reading {
        _leash: Leash,
    },
    /// Its slash command is done.
    Doing {
        /// Whether that makes a summary.
        summarises: bool,
        /// Dropped to say that nobody wants it any more.
        wanted: Option<oneshot::Sender<()>>,
    },
    /// Its slash command was done when the session had so many entries.
    Done {
        tip: Seq,
        /// What is said of it; nothing when it was cancelled.
        words: Option<String>,
    },
    /// The journal has it.
    Admitted(Seq),
    /// A turn works on it.
    Taken(TurnNo),
}

struct Waiting {
    no: u64,
    stage: Stage,
    responder: Responder<PromptResponse>,
    /// Listens for its withdrawal.
    _withdrawal: Leash,
}

/// The prompts that are not answered, in order of arrival.
#[derive(Default)]
pub(super) struct Prompts {
    /// Boxed, since a queue makes room for four at once.
    waiting: VecDeque<Box<Waiting>>,
    count: u64,
}

impl Prompts {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Answers what waits for the end of a turn that nobody will be told.
    pub(super) fn fail_admitted(&mut self, error: &Error) {
        self.answer_where(
            |waiting| matches!(waiting.stage, Stage::Admitted(_) | Stage::Taken(_)),
            || Err(error.clone()),
        );
    }

    /// Makes the slash commands that are being done end as cancelled.
    fn give_up_doing(&mut self, which: impl Fn(&Waiting) -> bool) {
        for waiting in self.waiting.iter_mut().filter(|waiting| which(waiting)) {
            match &mut waiting.stage {
                Stage::Doing { wanted, .. } => *wanted = None,
                Stage::Done { words, .. } => *words = None,
                Stage::Unread(_) | Stage::Reading { .. } | Stage::Admitted(_) | Stage::Taken(_) => {
                }
            }
        }
    }

    pub(super) fn cancel_all(&mut self) {
        self.answer_where(|_| true, || over(Stop::Cancelled));
    }

    fn answer_where(
        &mut self,
        which: impl Fn(&Waiting) -> bool,
        how: impl Fn() -> Result<PromptResponse, Error>,
    ) {
        let answered = self.take_where(which).into_iter();
        answered.for_each(|waiting| answer_with(waiting.responder, how()));
    }

    /// Those leave of which this is so.
    fn take_where(&mut self, which: impl Fn(&Waiting) -> bool) -> VecDeque<Box<Waiting>> {
        let all = std::mem::take(&mut self.waiting).into_iter();
        let (gone, waiting) = all.partition(|waiting| which(waiting));
        self.waiting = waiting;
        gone
    }

    /// The one of this number, whose words are looked at, leaves. It has gone when it was cancelled meanwhile.
    fn take_reading(&mut self, no: u64) -> Option<Box<Waiting>> {
        let is_read = |w: &Waiting| w.no == no && matches!(w.stage, Stage::Reading { .. });
        self.take_where(is_read).pop_front()
    }

    fn taken(&mut self, inputs: &[Seq], turn: TurnNo) {
        for waiting in &mut self.waiting {
            if matches!(waiting.stage, Stage::Admitted(seq) if inputs.contains(&seq)) {
                waiting.stage = Stage::Taken(turn);
            }
        }
    }
}

/// Answers a prompt. A client that has gone gets no answer.
fn answer_with(responder: Responder<PromptResponse>, how: Result<PromptResponse, Error>) {
    drop(responder.respond_with_result(how));
}

/// The answer to a prompt that no turn has worked on.
fn over(stop: Stop) -> Result<PromptResponse, Error> {
    Ok(PromptResponse::new(stop))
}

impl Lane {
    /// Takes a prompt on.
    pub(super) fn ask(&mut self, asked: Asked) {
        let Asked { request, responder, _room } = asked;
        if self.prompts.waiting.len() >= PROMPTS_MAX {
            let words = format!("{PROMPTS_MAX} prompts of this session wait for their turn");
            return answer_with(responder, Err(refused(words)));
        }
        let prompt = match Prompt::read(request.prompt) {
            Ok(prompt) => prompt,
            Err(error) => return answer_with(responder, Err(error)),
        };
        if let Err(error) = self.has_room(&prompt) {
            return answer_with(responder, Err(error));
        }
        self.prompts.count += 1;
        let no = self.prompts.count;
        let cancellation = responder.cancellation();
        let withdrawn = async move {
            cancellation.cancelled().await;
            Done::Withdrawn { prompt: no }
        };
        let _withdrawal = self.work.leashed(withdrawn);
        let stage = Stage::Unread(prompt);
        let waiting = Waiting { no, stage, responder, _withdrawal };
        self.prompts.waiting.push_back(Box::new(waiting));
        self.read_next();
    }

    /// Whether a prompt may wait: the session takes so much text, and so many bytes of others are not read yet.
    fn has_room(&self, prompt: &Prompt) -> Result<(), Error> {
        let (bytes, max) = (prompt.text_bytes(), self.session.core().limits().input_bytes);
        if bytes > max {
            let words = format!(
                "the input has {bytes} bytes of text and at most {max} are taken; put it into a file and name the file"
            );
            return Err(invalid(words));
        }
        let unread = self.prompts.waiting.iter().filter_map(|waiting| {
            let Stage::Unread(prompt) = &waiting.stage else { return None };
            Some(prompt.bytes())
        });
        let waiting: usize = unread.sum();
        // One that waits alone may be as long as a line.
        if waiting > 0 && waiting + prompt.bytes() > PROMPT_BYTES_MAX {
            let words = format!("prompts of {} MB wait for their turn", PROMPT_BYTES_MAX >> 20);
            return Err(refused(words));
        }
        Ok(())
    }

    /// Begins to look at the next prompt, one after another, so that they are admitted in order.
    pub(super) fn read_next(&mut self) {
        let mut all = self.prompts.waiting.iter();
        if all.any(|w| matches!(w.stage, Stage::Reading { .. } | Stage::Doing { .. })) {
            return;
        }
        let next = self.prompts.waiting.iter_mut().find_map(|waiting| {
            let Stage::Unread(prompt) = &mut waiting.stage else { return None };
            Some((waiting.no, std::mem::take(prompt)))
        });
        let Some((no, Prompt { words, attached })) = next else { return };
        let (workspace, session) = (self.workspace.clone(), self.session.clone());
        let place = Arc::clone(&self.place);
        let _leash = self.work.leashed(async move {
            let said = timeout(READ_WITHIN, workspace.read(words, &session, &place)).await;
            let said = said.unwrap_or_else(|_| Err(HostError::Failed(UNREADABLE.to_owned())));
            Done::Read(Read { prompt: no, said, attached })
        });
        let mut all = self.prompts.waiting.iter_mut();
        if let Some(waiting) = all.find(|waiting| waiting.no == no) {
            waiting.stage = Stage::Reading { _leash };
        }
    }

    /// Does what the words of a prompt mean.
    pub(super) async fn admit(&mut self, read: Read) {
        let Some(mut waiting) = self.prompts.take_reading(read.prompt) else { return };
        let admitted = match read.said {
            Ok(Said::Prompt { content, goal }) => {
                self.input((Delivery::Queue, goal), content, read.attached).await
            }
            Ok(Said::Steer(content)) => {
                self.input((Delivery::Steer, None), content, read.attached).await
            }
            // What a person got wrong is said to them as anything else is.
            Ok(Said::Answer(words)) | Err(HostError::Invalid(words)) => {
                self.say(&words);
                answer_with(waiting.responder, over(Stop::EndTurn));
                return self.read_next();
            }
            Ok(Said::Ask(ask)) => {
                waiting.stage = self.begin(waiting.no, ask);
                return self.prompts.waiting.push_front(waiting);
            }
            Err(error) => Err(WireError::from(error).0),
        };
        match admitted {
            Ok(seq) => {
                self.project.is_own(seq);
                waiting.stage = Stage::Admitted(seq);
                let mut all = self.prompts.waiting.iter();
                let behind = all.position(|w| matches!(w.stage, Stage::Unread(_)));
                let at = behind.unwrap_or(self.prompts.waiting.len());
                self.prompts.waiting.insert(at, waiting);
            }
            Err(error) => answer_with(waiting.responder, Err(error)),
        }
        self.read_next();
    }

    async fn input(
        &mut self,
        (delivery, goal): (Delivery, Option<Goal>),
        mut content: Vec<Part>,
        attached: Vec<Attached>,
    ) -> Result<Seq, Error> {
        for one in attached {
            content.push(one.part(self.session.core().ports().blobs.as_ref()).await?);
        }
        let admit = Admit {
            key: None,
            source: InputSource::User,
            delivery,
            content,
            goal,
            output: None,
            peer: None,
        };
        match self.told_session(Command::Admit(admit)).await {
            Ok(Reply::Admitted(seq)) => Ok(seq),
            Ok(_) => Err(failed("the session did not say where it put the prompt")),
            Err(error) => Err(WireError::from(error).0),
        }
    }

    /// Begins to do a slash command.
    fn begin(&mut self, prompt: u64, ask: Ask) -> Stage {
        let summarises = matches!(ask, Ask::Change(Change::Compact(_)));
        let (wanted, unwanted) = oneshot::channel::<()>();
        let session = self.session.clone();
        let told = async move {
            let mut asked = std::pin::pin!(answer::ask(&session, ask));
            let how = tokio::select! {
                how = timeout(DO_WITHIN, &mut asked) => how.ok(),
                _ = unwanted => timeout(STOP_WITHIN, asked).await.ok(),
            };
            // One that does not say how it is has nothing that is waited for.
            let status = timeout(STOP_WITHIN, session.status()).await;
            let tip = status.ok().and_then(Result::ok).map_or(0, |status| status.tip);
            Done::Told(Told { prompt, how, tip })
        };
        self.work.begin(told);
        Stage::Doing { summarises, wanted: Some(wanted) }
    }

    /// A slash command was done. It is answered when the client has been told what happened to the session by then.
    pub(super) fn told(&mut self, told: Told) {
        let mut all = self.prompts.waiting.iter_mut();
        let Some(waiting) = all.find(|waiting| waiting.no == told.prompt) else { return };
        let Stage::Doing { wanted, .. } = &waiting.stage else { return };
        let words = wanted.as_ref().map(|_| match told.how {
            Some(Ok(answer)) => answer.to_string(),
            Some(Err(error)) => error.to_string(),
            None => UNDONE.to_owned(),
        });
        waiting.stage = Stage::Done { tip: told.tip, words };
        self.answer_done();
    }

    /// Answers the slash commands that the client has been told all of.
    pub(super) fn answer_done(&mut self) {
        let is_told = |waiting: &Waiting| matches!(waiting.stage, Stage::Done { tip, .. } if !self.following.is_before(tip));
        // Asked with every entry, and rarely answered.
        if !self.prompts.waiting.iter().any(|waiting| is_told(waiting)) {
            return;
        }
        for waiting in self.prompts.take_where(is_told) {
            let Waiting { stage, responder, .. } = *waiting;
            let Stage::Done { words: Some(words), .. } = stage else {
                answer_with(responder, over(Stop::Cancelled));
                continue;
            };
            self.say(&words);
            answer_with(responder, over(Stop::EndTurn));
        }
    }

    /// Stops everything that the client asked for. Without anything it does nothing.
    pub(super) async fn cancel(&mut self) {
        self.prompts.answer_where(
            |waiting| matches!(waiting.stage, Stage::Unread(_) | Stage::Reading { .. }),
            || over(Stop::Cancelled),
        );
        self.prompts.give_up_doing(|_| true);
        let admitted = self.prompts.waiting.iter().filter_map(|waiting| {
            let Stage::Admitted(seq) = waiting.stage else { return None };
            Some(seq)
        });
        let admitted: Vec<Seq> = admitted.collect();
        // Those that wait go first, so that none of them begins a turn when the running one has ended. The journal tells their ends.
        for input in admitted {
            match self.command(Command::Withdraw { input }).await {
                Ok(()) | Err(SessionError::Rejected(Rejection::Stale { .. })) => {}
                Err(error) => tracing::warn!(%error, "a prompt was not withdrawn"),
            }
        }
        self.stop(None).await;
    }

    /// Stops what the session does, or this turn of it: the client may be told of one long after its end.
    async fn stop(&mut self, turn: Option<TurnNo>) {
        match self.command(Command::Cancel { turn }).await {
            Ok(()) | Err(SessionError::Rejected(Rejection::NotRunning)) => {}
            Err(error) => tracing::warn!(%error, "the session was not stopped"),
        }
    }

    /// Stops one prompt whose request was withdrawn, and the turn that works on it. Those behind it go on.
    pub(super) async fn cancel_one(&mut self, no: u64) {
        let Some(waiting) = self.prompts.waiting.iter().find(|waiting| waiting.no == no) else {
            return;
        };
        match waiting.stage {
            Stage::Unread(_) | Stage::Reading { .. } => {
                self.prompts.answer_where(|waiting| waiting.no == no, || over(Stop::Cancelled));
                self.read_next();
            }
            Stage::Doing { summarises, .. } => {
                self.prompts.give_up_doing(|waiting| waiting.no == no);
                if summarises {
                    self.stop(None).await;
                }
            }
            Stage::Done { .. } => self.prompts.give_up_doing(|waiting| waiting.no == no),
            Stage::Admitted(input) => match self.command(Command::Withdraw { input }).await {
                Ok(()) => {}
                // A turn has taken it, of which the client may not have been told.
                Err(SessionError::Rejected(Rejection::Stale { .. })) => {
                    if let Ok(Some(turn)) =
                        timeout(STOP_WITHIN, turn_of(&self.session, input)).await
                    {
                        self.stop(Some(turn)).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "a prompt was not withdrawn"),
            },
            Stage::Taken(turn) => self.stop(Some(turn)).await,
        }
    }

    /// Answers the prompts whose end this entry is.
    pub(super) fn settle(&mut self, entry: &Entry) {
        let turn = entry.turn.unwrap_or(0);
        match &entry.event {
            Event::TurnStarted(started) => self.prompts.taken(&started.inputs, turn),
            Event::StepStarted(started) => self.prompts.taken(&started.inputs, turn),
            Event::InputWithdrawn(gone) => {
                let input = gone.input;
                self.prompts.answer_where(
                    |waiting| matches!(waiting.stage, Stage::Admitted(seq) if seq == input),
                    || over(Stop::Cancelled),
                );
            }
            Event::TurnEnded(ended) => {
                let usage = self.project.spent();
                self.prompts.answer_where(
                    |waiting| matches!(waiting.stage, Stage::Taken(no) if no == turn),
                    || stop_of(ended).map(|stop| PromptResponse::new(stop).usage(usage.clone())),
                );
            }
            _ => {}
        }
        self.answer_done();
    }
}

/// The turn that has taken an input.
async fn turn_of(session: &DefaultSession, input: Seq) -> Option<TurnNo> {
    let mut events = session.events(input);
    loop {
        let AgentEvent::Entry(entry) = events.next().await.ok()? else { return None };
        match &entry.event {
            Event::TurnStarted(started) if started.inputs.contains(&input) => {
                return entry.turn;
            }
            Event::StepStarted(started) if started.inputs.contains(&input) => {
                return entry.turn;
            }
            _ => {}
        }
    }
}

/// Why a turn ended, as the protocol says it; what it has no word for is an error.
fn stop_of(ended: &TurnEnded) -> Result<Stop, Error> {
    let words = || match &ended.error {
        Some(error) => error.message.clone(),
        None => "the turn was interrupted".to_owned(),
    };
    match ended.stop {
        StopReason::EndTurn => Ok(Stop::EndTurn),
        StopReason::MaxTokens => Ok(Stop::MaxTokens),
        StopReason::Refusal => Ok(Stop::Refusal),
        StopReason::Cancelled => Ok(Stop::Cancelled),
        StopReason::Limit(_) => Ok(Stop::MaxTurnRequests),
        StopReason::Interrupted
        | StopReason::Failed(
            FailureClass::Model(_)
            | FailureClass::CrashLoop
            | FailureClass::Internal
            | FailureClass::StructuredOutput,
        ) => Err(failed(words())),
    }
}
