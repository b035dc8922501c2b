//! JSON-RPC 2.0 over a pair of streams, an object a line: the operations of the table, and the events of sessions as notifications.

mod connection;
mod events;
mod message;

pub use connection::serve;
