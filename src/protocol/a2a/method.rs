//! Which method of which version a name is.

use super::{Version, code};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// A message for the agent.
    Send {
        /// Whether the answer is a stream of events.
        streaming: bool,
    },
    /// Anything else that A2A knows: refused, with this code and these words.
    Refused(i32, &'static str),
}

const NO_TASKS: Method = Method::Refused(
    code::TASK_NOT_FOUND,
    "there is no such task: this agent answers a message at once and keeps no tasks",
);
const NO_PUSH: Method = Method::Refused(code::PUSH_NOTIFICATION_NOT_SUPPORTED, NO_PUSH_TEXT);
const NO_LIST: Method = Method::Refused(
    code::UNSUPPORTED_OPERATION,
    "this agent keeps no tasks that could be listed",
);
const NO_EXTENDED_CARD: Method = Method::Refused(
    code::EXTENDED_CARD_NOT_CONFIGURED,
    "this agent has one card, at /.well-known/agent-card.json",
);

/// Why a push notification configuration is refused, by itself or with a message.
pub(super) const NO_PUSH_TEXT: &str = "this agent sends no push notifications; its answer is the reply to message/send or the event of message/stream";

/// Why a method is refused that is none of A2A.
pub(super) const UNKNOWN_TEXT: &str = "no such method: this agent answers message/send and message/stream (A2A 0.3), SendMessage and \
     SendStreamingMessage (A2A 1.0)";

/// The method of this name, and the version that has it.
pub(super) fn method(name: &str) -> Option<(Version, Method)> {
    use Version::{V0_3, V1_0};
    Some(match name {
        "message/send" => (V0_3, Method::Send { streaming: false }),
        "message/stream" => (V0_3, Method::Send { streaming: true }),
        "SendMessage" => (V1_0, Method::Send { streaming: false }),
        "SendStreamingMessage" => (V1_0, Method::Send { streaming: true }),
        "tasks/get" | "tasks/cancel" | "tasks/resubscribe" => (V0_3, NO_TASKS),
        "GetTask" | "CancelTask" | "SubscribeToTask" => (V1_0, NO_TASKS),
        "tasks/list" => (V0_3, NO_LIST),
        "ListTasks" => (V1_0, NO_LIST),
        "tasks/pushNotificationConfig/set"
        | "tasks/pushNotificationConfig/get"
        | "tasks/pushNotificationConfig/list"
        | "tasks/pushNotificationConfig/delete" => (V0_3, NO_PUSH),
        "CreateTaskPushNotificationConfig"
        | "GetTaskPushNotificationConfig"
        | "ListTaskPushNotificationConfigs"
        | "DeleteTaskPushNotificationConfig" => (V1_0, NO_PUSH),
        "agent/getAuthenticatedExtendedCard" => (V0_3, NO_EXTENDED_CARD),
        "GetExtendedAgentCard" => (V1_0, NO_EXTENDED_CARD),
        _ => return None,
    })
}
