//! A model behind an endpoint: a codec and a transport. It neither waits for silence nor retries; the runtime does.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use oarlock_core::ports::model::{
    Model, ModelError, ModelErrorKind, ModelEvent, ModelInfo, ModelRequest, Reply,
};

use crate::answers;
use crate::classify;
use crate::codec::{Codec, Decoder, Fault, Target};
use crate::endpoint::Endpoint;
use crate::eventstream;
use crate::lane::{Pass, Ticket, Told};
use crate::spent::spent_ms;
use crate::sse::{Event, Framer};
use crate::transport::{HttpRequest, Transport, TransportError};

/// An answer that comes as one JSON body may have this many bytes.
const WHOLE_BYTES_MAX: usize = 32 << 20;
/// Blank bytes before the first one that tells what an answer is.
const BLANK_BYTES_MAX: usize = 64 << 10;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A model that is called over the network.
#[derive(Debug)]
pub struct HttpModel {
    info: ModelInfo,
    target: Target,
    endpoint: Arc<Endpoint>,
    codec: Arc<dyn Codec>,
    transport: Arc<dyn Transport>,
}

impl HttpModel {
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        model: &str,
        codec: Arc<dyn Codec>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        let info = endpoint.config.info(model);
        let target = Target {
            endpoint: endpoint.config.name.clone(),
            model: model.to_owned(),
            family: info.family.clone(),
            output_max: info.output_max,
            quirks: endpoint.quirks(),
        };
        Self { info, target, endpoint, codec, transport }
    }
}

impl Model for HttpModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn call(
        &self,
        mut request: ModelRequest,
    ) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let refusal = self.info.refusal(request.effort, &request.sampling);
        let prepared = refusal.map_or_else(
            || answers::prepare(&mut request, (self.endpoint.config.wire, &self.target)),
            Err,
        );
        let warnings = match prepared {
            Ok(warnings) => warnings,
            Err(message) => {
                let kind = ModelErrorKind::InvalidRequest;
                let error = ModelError { kind, message, retry_after_ms: None };
                return stream::iter([Err(error)]).boxed();
            }
        };
        let names = self.codec.names(&request);
        let body = self.codec.encode(&request, &self.target);
        let call = Call {
            model: self.target.model.clone(),
            endpoint: Arc::clone(&self.endpoint),
            transport: Arc::clone(&self.transport),
            stage: Stage::Unsent(
                self.endpoint.call(&self.target.model, body),
                self.codec.decoder(&self.target),
                self.endpoint.lane.enter(&self.target.model, self.endpoint.config.bounds),
            ),
            pass: None,
            ready: VecDeque::new(),
        };
        let whole = move |event| match event {
            Ok(ModelEvent::Reply(reply)) => {
                let blocks = names.meant(reply.blocks);
                Ok(ModelEvent::Reply(Reply { warnings: warnings.clone(), blocks, ..reply }))
            }
            other => other,
        };
        stream::unfold(call, Call::next).map(whole).boxed()
    }
}

/// One call under way. Dropping it drops the answer's body, and with it the connection.
struct Call {
    model: String,
    endpoint: Arc<Endpoint>,
    transport: Arc<dyn Transport>,
    stage: Stage,
    /// From when it may be sent to its end.
    pass: Option<Pass>,
    ready: VecDeque<Result<ModelEvent, ModelError>>,
}

enum Stage {
    Unsent(HttpRequest, Box<dyn Decoder>, Ticket),
    Sending(HttpRequest, Box<dyn Decoder>),
    Answering(Body, Reader),
    Over,
}

type Body = BoxStream<'static, Result<Bytes, TransportError>>;

impl Call {
    async fn next(mut self) -> Option<(Result<ModelEvent, ModelError>, Self)> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some((item, self));
            }
            self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Unsent(request, decoder, ticket) => {
                    self.wait(request, decoder, ticket).await
                }
                Stage::Sending(request, decoder) => self.send(request, decoder).await,
                Stage::Answering(mut body, reader) => {
                    let chunk = body.next().await;
                    self.take(chunk, body, reader)
                }
                Stage::Over => return None,
            };
        }
    }

    /// Waits until the endpoint takes requests, and says so while that lasts.
    async fn wait(
        &mut self,
        request: HttpRequest,
        decoder: Box<dyn Decoder>,
        mut ticket: Ticket,
    ) -> Stage {
        match ticket.next().await {
            Told::Waits(why) => {
                let why = self.endpoint.waits(&why);
                self.ready.push_back(Ok(ModelEvent::Waits { why }));
                Stage::Unsent(request, decoder, ticket)
            }
            Told::Go(pass) => {
                self.pass = Some(pass);
                if ticket.has_told() {
                    self.ready.push_back(Ok(ModelEvent::Alive));
                }
                Stage::Sending(request, decoder)
            }
            Told::Refused(kind, message, retry_after_ms) => {
                let fault = Fault { kind, message, retry_after_ms };
                self.fail(self.endpoint.error(Some(&self.model), &fault))
            }
        }
    }

    async fn send(&mut self, request: HttpRequest, decoder: Box<dyn Decoder>) -> Stage {
        let (endpoint, model) = (&self.endpoint, Some(self.model.as_str()));
        let answered = async {
            let request = endpoint.authorized(model, request).await?;
            endpoint.send(&*self.transport, model, request).await
        };
        match answered.await {
            Ok(answer) => {
                if let Some(pass) = &self.pass {
                    pass.taken(spent_ms(&answer.headers));
                }
                self.ready.push_back(Ok(ModelEvent::Alive));
                Stage::Answering(answer.body, Reader::new(answer.status, decoder))
            }
            Err(error) => self.fail(error),
        }
    }

    fn take(
        &mut self,
        chunk: Option<Result<Bytes, TransportError>>,
        body: Body,
        mut reader: Reader,
    ) -> Stage {
        let read = match chunk {
            Some(Ok(bytes)) => reader.feed(&bytes, &mut self.ready),
            None => return self.finish(reader, None),
            // A connection may break after the answer is complete and before its end is marked.
            Some(Err(error)) => return self.finish(reader, Some(&error)),
        };
        match read {
            Err(fault) => self.fail(self.endpoint.error(Some(&self.model), &fault)),
            Ok(()) if reader.decoder.is_done() => self.finish(reader, None),
            Ok(()) => Stage::Answering(body, reader),
        }
    }

    fn finish(&mut self, reader: Reader, broken: Option<&TransportError>) -> Stage {
        match (reader.finish(&mut self.ready), broken) {
            (Ok(reply), _) => {
                self.pass = None;
                self.ready.push_back(Ok(ModelEvent::Reply(reply)));
                Stage::Over
            }
            (Err(_), Some(error)) => self.fail(self.endpoint.unreached(Some(&self.model), error)),
            (Err(fault), None) => self.fail(self.endpoint.error(Some(&self.model), &fault)),
        }
    }

    fn fail(&mut self, error: ModelError) -> Stage {
        if let Some(pass) = self.pass.take() {
            pass.failed(&error);
        }
        self.ready.push_back(Err(error));
        Stage::Over
    }
}

/// Reads the body of a success: a stream of events, one of frames, or one JSON value, told apart by the first byte, since servers label both wrongly.
struct Reader {
    status: u16,
    decoder: Box<dyn Decoder>,
    form: Form,
}

enum Form {
    /// Only blanks so far.
    Untold(Vec<u8>),
    Events(Framer),
    Frames(eventstream::Framer),
    Whole(Vec<u8>),
}

impl Form {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Events(framer) => framer.push(bytes),
            Self::Frames(framer) => {
                framer.push(bytes);
                Ok(())
            }
            Self::Untold(_) | Self::Whole(_) => Ok(()),
        }
    }

    /// The next whole event of a stream.
    fn next_event(&mut self) -> Result<Option<Event>, Fault> {
        match self {
            Self::Events(framer) => Ok(framer.next_event()),
            Self::Frames(framer) => framer.next_event(),
            Self::Untold(_) | Self::Whole(_) => Ok(None),
        }
    }

    /// Whether a frame has not come whole. An event of text that is not ended does not count.
    fn is_midway(&self) -> bool {
        matches!(self, Self::Frames(framer) if framer.is_midway())
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("status", &self.status).finish_non_exhaustive()
    }
}

type Ready = VecDeque<Result<ModelEvent, ModelError>>;

impl Reader {
    fn new(status: u16, decoder: Box<dyn Decoder>) -> Self {
        Self { status, decoder, form: Form::Untold(Vec::new()) }
    }

    fn feed(&mut self, bytes: &[u8], ready: &mut Ready) -> Result<(), Fault> {
        let before = ready.len();
        match &mut self.form {
            Form::Untold(blanks) => {
                blanks.extend_from_slice(bytes);
                let started = std::mem::take(blanks);
                self.form = form(&started, self.status)?;
                match self.form {
                    Form::Events(_) | Form::Frames(_) => self.events(&started, ready)?,
                    Form::Untold(_) | Form::Whole(_) => {}
                }
            }
            Form::Events(_) | Form::Frames(_) => self.events(bytes, ready)?,
            Form::Whole(body) => {
                body.extend_from_slice(bytes);
                if body.len() > WHOLE_BYTES_MAX {
                    return Err(transport("the answer is larger than 32 MiB"));
                }
            }
        }
        // Comments, parts of an event and parts of a body are signs of life, too.
        if ready.len() == before {
            ready.push_back(Ok(ModelEvent::Alive));
        }
        Ok(())
    }

    fn events(&mut self, bytes: &[u8], ready: &mut Ready) -> Result<(), Fault> {
        self.form.push(bytes)?;
        let mut out = Vec::new();
        while let Some(event) = self.form.next_event()? {
            let decoded = self.decoder.event(event.name.as_deref(), &event.data, &mut out);
            ready.extend(out.drain(..).map(Ok));
            decoded?;
            if self.decoder.is_done() {
                break;
            }
        }
        Ok(())
    }

    fn finish(mut self, ready: &mut Ready) -> Result<Reply, Fault> {
        if let Form::Whole(body) = &self.form {
            let mut out = Vec::new();
            let decoded = self.decoder.whole(body, &mut out);
            ready.extend(out.drain(..).map(Ok));
            decoded?;
        }
        if self.form.is_midway() && !self.decoder.is_done() {
            return Err(Fault::truncated("the answer ended within a frame"));
        }
        self.decoder.finish()
    }
}

/// What the beginning of a body shows it to be.
fn form(started: &[u8], status: u16) -> Result<Form, Fault> {
    if started.len() < BOM.len() && BOM.starts_with(started) {
        return Ok(Form::Untold(started.to_vec()));
    }
    if started.first().copied().is_some_and(eventstream::begins) {
        return Ok(Form::Frames(eventstream::Framer::default()));
    }
    let text = started.strip_prefix(BOM).unwrap_or(started);
    match text.trim_ascii_start().first() {
        Some(b'{' | b'[') => Ok(Form::Whole(text.to_vec())),
        Some(b'<') => Err(classify::page_instead_of_answer(status, started)),
        Some(_) => Ok(Form::Events(Framer::new())),
        None if started.len() > BLANK_BYTES_MAX => Err(transport("the answer is blank")),
        None => Ok(Form::Untold(started.to_vec())),
    }
}

fn transport(what: &str) -> Fault {
    Fault { kind: ModelErrorKind::Transport, message: what.to_owned(), retry_after_ms: None }
}
