// libsvantic for C++17: RAII, std::function and exceptions over svantic.h. Header-only.
//
//     svantic::MeshConnector mesh(R"({"name":"order-desk","description":"knows every order"})");
//     mesh.define_capability(R"({"name":"find_order","description":"says where an order is"})",
//                            [](std::string_view request) { return std::string(R"({"state":"shipped"})"); });
//     mesh.connect();
//     ...
//     mesh.disconnect();
//
// A function that fails throws svantic::Error. A handler that throws rejects its dispatch with the message of
// the exception and nothing else of it. What svantic.h says about threads, blocking and time limits holds here.

#ifndef SVANTIC_HPP
#define SVANTIC_HPP

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "svantic.h"

namespace svantic {

// Why a call failed: what() explains, status() is the number to act on.
class Error : public std::runtime_error {
public:
    Error(svantic_status status, const std::string &what, std::string json = {})
        : std::runtime_error(what), status_(status), json_(std::move(json)) {}

    svantic_status status() const noexcept { return status_; }

    // The failure as a JSON object, see svantic_last_error_json(); "" for what this header refuses by itself.
    const std::string &json() const noexcept { return json_; }

private:
    svantic_status status_;
    std::string json_;
};

// 0 is the configured default, as in svantic.h.
using Timeout = std::chrono::milliseconds;

namespace detail {

inline void check(svantic_status status) {
    if (status != SVANTIC_STATUS_OK) throw Error(status, svantic_last_error(), svantic_last_error_json());
}

inline std::uint32_t milliseconds(Timeout timeout) {
    if (timeout.count() < 0 || timeout.count() > UINT32_MAX) {
        throw Error(SVANTIC_STATUS_INVALID_ARGUMENT, "the timeout is negative or longer than 49 days");
    }
    return static_cast<std::uint32_t>(timeout.count());
}

inline std::string take(char *text) {
    const std::unique_ptr<char, void (*)(char *)> owned(text, svantic_string_free);
    return std::string(owned.get());
}

}  // namespace detail

// A dispatch to be answered once, from any thread. Copies answer the same dispatch; the second answer throws
// NOT_FOUND. After its MeshConnector has ended, an answer throws INVALID_HANDLE.
class Dispatch {
public:
    Dispatch(svantic_mesh *mesh, std::string id, std::string request)
        : mesh_(mesh), id_(std::move(id)), request_(std::move(request)) {}

    const std::string &id() const noexcept { return id_; }

    // The request as a JSON object; see svantic_handler_fn.
    const std::string &request() const noexcept { return request_; }

    void resolve(const std::string &result_json) const {
        detail::check(svantic_resolve(mesh_, id_.c_str(), result_json.c_str()));
    }

    // Without a code it is the handler's own failure, HANDLER_ERROR.
    void reject(const std::string &message, const char *code = nullptr) const {
        detail::check(svantic_reject(mesh_, id_.c_str(), code, message.c_str()));
    }

private:
    svantic_mesh *mesh_;
    std::string id_;
    std::string request_;
};

// Verifies the "svantic_auth" of a dispatch that came by HTTP and returns what it says, as JSON; see
// svantic_verify_dispatch_auth(). Throws AUTH for one that must not be run; what() ends with the reason's code.
inline std::string verify_dispatch_auth(const std::string &data_json, const std::string &options_json) {
    // The text would end at a NUL for the library, and not for who reads it next.
    if (data_json.find('\0') != data_json.npos) {
        throw Error(SVANTIC_STATUS_AUTH, "the data part of the dispatch holds a NUL [malformed_envelope]");
    }
    char *context = nullptr;
    detail::check(svantic_verify_dispatch_auth(data_json.c_str(), options_json.c_str(), &context));
    return detail::take(context);
}

// {"trace_id","span_id","flags"}, or "null" if it is malformed.
inline std::string parse_traceparent(const std::string &traceparent) {
    char *json = nullptr;
    detail::check(svantic_parse_traceparent(traceparent.c_str(), &json));
    return detail::take(json);
}

// {"key":"value",...}
inline std::string parse_baggage(const std::string &baggage) {
    char *json = nullptr;
    detail::check(svantic_parse_baggage(baggage.c_str(), &json));
    return detail::take(json);
}

// An agent and its connection to the mesh. Moves, does not copy. Its end is svantic_free(): call disconnect()
// first for a graceful one.
class MeshConnector {
public:
    // Gets the request and returns the result as JSON.
    using Handler = std::function<std::string(std::string_view request)>;
    // Gets the dispatch and answers it when it likes.
    using DeferredHandler = std::function<void(Dispatch dispatch)>;
    using EventHandler = std::function<void(std::int32_t event, std::string_view event_json)>;
    // Gets each part of a response; the last one ends in "more":false}.
    using ResponseHandler = std::function<void(std::string_view response_json)>;

    explicit MeshConnector(const std::string &config_json) {
        if (svantic_abi_version() != SVANTIC_ABI_VERSION) {
            throw Error(SVANTIC_STATUS_INTERNAL, "the loaded libsvantic is of another ABI version than svantic.h");
        }
        svantic_mesh *mesh = nullptr;
        detail::check(svantic_create(config_json.c_str(), &mesh));
        mesh_.reset(mesh);
    }

    void define_capability(const std::string &spec_json, Handler handler) {
        define_deferred_capability(spec_json, [handler = std::move(handler)](const Dispatch &dispatch) {
            dispatch.resolve(handler(dispatch.request()));
        });
    }

    void define_deferred_capability(const std::string &spec_json, DeferredHandler handler) {
        auto capability = std::make_unique<Capability>(Capability{mesh_.get(), std::move(handler)});
        detail::check(svantic_define_capability(mesh_.get(), spec_json.c_str(), run, capability.get(),
                                                release<Capability>));
        capability.release();  // the library's now, until svantic_free()
    }

    // Events come one at a time, in order. An exception out of the function is dropped.
    void on_event(EventHandler handler) {
        auto owned = std::make_unique<EventHandler>(std::move(handler));
        detail::check(svantic_on_event(mesh_.get(), event, owned.get(), release<EventHandler>));
        owned.release();
    }

    void connect(Timeout timeout = {}) { detail::check(svantic_connect(mesh_.get(), detail::milliseconds(timeout))); }

    void disconnect(Timeout timeout = {}) {
        detail::check(svantic_disconnect(mesh_.get(), detail::milliseconds(timeout)));
    }

    // Exchanges the credentials for a new token now.
    void refresh_token(Timeout timeout = {}) {
        detail::check(svantic_refresh_token(mesh_.get(), nullptr, detail::milliseconds(timeout)));
    }

    // Uses this token from now on.
    void refresh_token(const std::string &jwt, Timeout timeout = {}) {
        detail::check(svantic_refresh_token(mesh_.get(), jwt.c_str(), detail::milliseconds(timeout)));
    }

    void re_register(Timeout timeout = {}) {
        detail::check(svantic_re_register(mesh_.get(), detail::milliseconds(timeout)));
    }

    std::string create_session(const std::string &options_json = "{}", Timeout timeout = {}) {
        char *id = nullptr;
        detail::check(svantic_create_session(mesh_.get(), options_json.c_str(), detail::milliseconds(timeout), &id));
        return detail::take(id);
    }

    void close_session(const std::string &session_id, Timeout timeout = {}) {
        detail::check(svantic_close_session(mesh_.get(), session_id.c_str(), detail::milliseconds(timeout)));
    }

    // The whole response to an HTTP request that a server of the program's own has taken in, see svantic_serve().
    std::string serve(const std::string &request_json, std::string_view body = {}, Timeout timeout = {}) {
        char *response = nullptr;
        detail::check(svantic_serve(mesh_.get(), request_json.c_str(), body.data(), body.size(),
                                    detail::milliseconds(timeout), &response));
        return detail::take(response);
    }

    // The same in parts, on a delivery thread and one at a time. An exception out of the function is dropped. What is
    // returned may be given to cancel() until the last part has come, when the client has gone.
    void *serve_async(const std::string &request_json, std::string_view body, ResponseHandler on_response) {
        auto owned = std::make_unique<ResponseHandler>(std::move(on_response));
        detail::check(svantic_serve_async(mesh_.get(), request_json.c_str(), body.data(), body.size(), response,
                                          owned.get()));
        return owned.release();  // the last part's
    }

    // Ends what was begun with an _async function of svantic.h on handle() and this user_data; whether anything was
    // pending. Never blocks.
    bool cancel(void *user_data) {
        const svantic_status status = svantic_cancel(mesh_.get(), user_data);
        if (status != SVANTIC_STATUS_NOT_FOUND) detail::check(status);
        return status == SVANTIC_STATUS_OK;
    }

    // The network may be another: probes the connection, or makes it again at once. Never blocks.
    void network_changed() { detail::check(svantic_network_changed(mesh_.get())); }

    // An svantic_state value.
    std::int32_t state() const {
        std::int32_t state = 0;
        detail::check(svantic_get_state(mesh_.get(), &state));
        return state;
    }

    bool connected() const {
        bool connected = false;
        detail::check(svantic_get_connected(mesh_.get(), &connected));
        return connected;
    }

    std::string svantic_url() const { return text(svantic_get_svantic_url); }
    std::string token() const { return text(svantic_get_token); }
    std::string deployment_mode() const { return text(svantic_get_deployment_mode); }
    std::string instance_id() const { return text(svantic_get_instance_id); }
    std::string agent_card() const { return text(svantic_get_agent_card); }
    std::string snapshot() const { return text(svantic_get_snapshot); }

    // For what this class does not wrap.
    svantic_mesh *handle() const noexcept { return mesh_.get(); }

private:
    struct Free {
        void operator()(svantic_mesh *mesh) const noexcept { svantic_free(mesh); }
    };

    struct Capability {
        svantic_mesh *mesh;
        DeferredHandler handler;
    };

    template <typename T>
    static void release(void *user_data) {
        delete static_cast<T *>(user_data);
    }

    // No exception may leave a callback.
    static void run(void *user_data, const char *dispatch_id, const char *request, std::size_t length) {
        const auto *capability = static_cast<const Capability *>(user_data);
        try {
            capability->handler(Dispatch(capability->mesh, dispatch_id, std::string(request, length)));
        } catch (const std::exception &failure) {
            if (svantic_reject(capability->mesh, dispatch_id, nullptr, failure.what()) == SVANTIC_STATUS_INVALID_JSON) {
                svantic_reject(capability->mesh, dispatch_id, nullptr, "an exception whose text is not UTF-8");
            }
        } catch (...) {
            svantic_reject(capability->mesh, dispatch_id, nullptr, "an exception of an unknown type");
        }
    }

    static void event(void *user_data, std::int32_t event, const char *event_json, std::size_t length) {
        try {
            (*static_cast<const EventHandler *>(user_data))(event, std::string_view(event_json, length));
        } catch (...) {
        }
    }

    static void response(void *user_data, const char *response_json) {
        constexpr std::string_view last = "\"more\":false}";
        const std::string_view part(response_json);
        auto *handler = static_cast<ResponseHandler *>(user_data);
        const bool ends = part.size() >= last.size() && part.substr(part.size() - last.size()) == last;
        const std::unique_ptr<ResponseHandler> owned(ends ? handler : nullptr);
        try {
            (*handler)(part);
        } catch (...) {
        }
    }

    std::string text(svantic_status (*get)(svantic_mesh *, char **)) const {
        char *value = nullptr;
        detail::check(get(mesh_.get(), &value));
        return detail::take(value);
    }

    std::unique_ptr<svantic_mesh, Free> mesh_;
};

}  // namespace svantic

#endif
