//! The way to the web is the client that a tool was given: without one nothing is fetched, and the model is told so.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use oarlock_core::event::Effect;
use oarlock_core::message::Part;
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use oarlock_core::{
    AgentCore, DefaultAgentCore, HttpClient, HttpError, HttpGet, HttpResponse, NoopHttpClient,
    SessionSpec, StaticToolRegistry,
};
use oarlock_testkit::model::{Say, ScriptedModel, calls, text};
use serde_json::{Value, json};

/// Gets one URL by the client that it was given.
#[derive(Debug)]
struct Get(ToolSchema, Arc<dyn HttpClient>);

impl Tool for Get {
    fn schema(&self) -> &ToolSchema {
        &self.0
    }

    fn assess(&self, _: &Value, _: &Place) -> Result<Assessment, String> {
        let (title, subject) = ("get".to_owned(), Subject::default());
        Ok(Assessment { effect: Effect::Pure, title, subject, timeout_ms: 1_000 })
    }

    fn describe<'a>(&'a self, _: &'a Value, _: &'a ToolContext) -> BoxFuture<'a, String> {
        ready(String::new()).boxed()
    }

    fn execute(
        self: Arc<Self>,
        _: Value,
        _: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        let (url, accept) = ("http://a.test/".to_owned(), "*/*".to_owned());
        let get = HttpGet { url, accept, max_redirects: None, max_bytes: 100 };
        async move {
            let got = self.1.get(get).await.map_err(|e| ToolError::failed(e.to_string()))?;
            Ok(ToolOutput::text(String::from_utf8_lossy(&got.body)))
        }
        .boxed()
    }
}

/// Answers each URL with its own words.
#[derive(Debug)]
struct Echo;

impl HttpClient for Echo {
    fn check(&self, _: &str) -> Result<(), HttpError> {
        Ok(())
    }

    fn get(&self, get: HttpGet) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        let (body, content_type) = (get.url.clone().into(), "text/plain".to_owned());
        let (status, redirects, truncated) = (200, 0, false);
        let url = get.url;
        ready(Ok(HttpResponse { status, url, content_type, redirects, body, truncated })).boxed()
    }
}

/// What the model is told of the call.
async fn told(client: Arc<dyn HttpClient>) -> String {
    let script = [calls(&[("1", "get", "{}")]), text("done")].map(|reply| vec![Say::Reply(reply)]);
    let model = ScriptedModel::new(script);
    let (name, description, input) = ("get".into(), "gets".into(), json!({"type": "object"}));
    let get = Get(ToolSchema { name, description, input, runs: Runs::Here }, client);
    let tools = Arc::new(StaticToolRegistry::new([Arc::new(get) as Arc<dyn Tool>]));
    let core = DefaultAgentCore::builder().model(Arc::clone(&model) as _).process_tools(tools);
    let core = core.build().unwrap();
    let spec = SessionSpec::new("/".into(), "test", core.default_settings().unwrap());
    let session = core.create_session(spec.into()).await.unwrap();
    session.run_turn(vec![Part::text("go")]).await.unwrap().outcome().unwrap();
    format!("{:?}", model.requests().last().unwrap().messages.last().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_tool_fetches_by_the_client_it_was_given() {
    let told = told(Arc::new(Echo)).await;
    assert!(told.contains("http://a.test/") && !told.contains("HTTP client"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn without_a_client_nothing_is_fetched_and_the_model_is_told() {
    let told = told(Arc::new(NoopHttpClient)).await;
    assert!(told.contains("there is no HTTP client: this program was made without one"), "{told}");
    let refused = NoopHttpClient.check("http://a.test/");
    assert!(matches!(refused, Err(HttpError::Unavailable { .. })), "{refused:?}");
}
