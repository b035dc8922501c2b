//! A session with a tool and a model of its own: the model asks for the dice and says what was thrown.
use futures::{future, future::BoxFuture, stream, stream::BoxStream};
use oarlock_core::{event::Effect, message::ReplyStop, ports::model, ports::tool::*, *};
use serde_json::{Value, json};
use std::{error::Error, io::Write, sync::Arc};
type Answer = Result<model::ModelEvent, ProviderError>;
type Thrown = Result<ToolOutput, ToolError>;

#[derive(Debug)]
struct Parrot(ModelInfo);
#[derive(Debug)]
struct Dice(ToolSchema);

impl model::Model for Parrot {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
    fn call(&self, asked: model::ModelRequest) -> BoxStream<'static, Answer> {
        let (id, name, arguments) = (CallId("1".into()), "dice".into(), "{}".into());
        let says = Content::Text { text: "six".into() };
        let (content, stop) = match asked.messages.last() {
            Some(Message::Tool { .. }) => (says, ReplyStop::EndTurn),
            _ => (Content::ToolCall { id, name, arguments }, ReplyStop::ToolUse),
        };
        let (model, blocks) = ("parrot".into(), vec![Block { content, native: None }]);
        let reply = model::Reply { model, blocks, stop, usage: Usage::default(), warnings: vec![] };
        Box::pin(stream::iter([Ok(model::ModelEvent::Reply(reply))]))
    }
}

impl Tool for Dice {
    fn schema(&self) -> &ToolSchema {
        &self.0
    }
    fn assess(&self, _: &Value, _: &Place) -> Result<Assessment, String> {
        let (title, subject) = ("throw the dice".into(), Subject::default());
        Ok(Assessment { effect: Effect::Pure, title, subject, timeout_ms: 1_000 })
    }
    fn describe<'a>(&'a self, _: &'a Value, _: &'a ToolContext) -> BoxFuture<'a, String> {
        Box::pin(future::ready("throws the dice".into()))
    }
    fn execute(self: Arc<Self>, _: Value, _: ToolContext) -> BoxFuture<'static, Thrown> {
        Box::pin(future::ready(Ok(ToolOutput::text("6"))))
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let model = ModelSelection { provider: "own".into(), model: "parrot".into() };
    let core = DefaultAgentCore::builder().model(Arc::new(Parrot(ModelInfo::named(model))));
    let (name, description, input) = ("dice".into(), "throws".into(), json!({"type": "object"}));
    let dice = Dice(ToolSchema { name, description, input, runs: Runs::Here });
    let tools = Arc::new(StaticToolRegistry::new([Arc::new(dice) as _]));
    let core = core.process_tools(tools).build()?;
    let spec = SessionSpec::new("/".into(), "example", core.default_settings()?);
    let session = core.create_session(spec.into()).await?;
    let ended = session.run_turn(vec![Part::text("throw the dice")]).await?.outcome()?;
    writeln!(std::io::stdout(), "{ended:?}: {:?}", session.history_snapshot().await?.last())?;
    Ok(session.close().await?)
}
