"""The words of the balance page in English, Spanish and Hindi: its labels. Messages and reasons are of
`gridtally_shared.messages`, the same for display, portal and desk.

A test keeps the three languages complete and their placeholders equal.
"""

from __future__ import annotations

from gridtally_shared.messages import words as shared
from gridtally_shared.messages.catalogue import FALLBACK, LANGUAGES, language_of, table

__all__ = ["FALLBACK", "LABELS", "LANGUAGES", "MESSAGES", "Words", "accepted", "language_of"]

MESSAGES = table("notices")

LABELS: dict[str, dict[str, str]] = {
    "title": {"en": "Your electricity balance", "es": "Su saldo de electricidad", "hi": "आपका बिजली बैलेंस"},
    "account": {"en": "Account number", "es": "Número de cuenta", "hi": "खाता संख्या"},
    "account_short": {"en": "Account {n}", "es": "Cuenta {n}", "hi": "खाता {n}"},
    "pin": {"en": "PIN", "es": "PIN", "hi": "पिन"},
    "open": {"en": "Show my balance", "es": "Ver mi saldo", "hi": "मेरा बैलेंस देखें"},
    "leave": {"en": "Close this page", "es": "Cerrar esta página", "hi": "यह पेज बंद करें"},
    "language": {"en": "Language", "es": "Idioma", "hi": "भाषा"},
    "hint": {
        "en": "Your account number is on your bill or card. This page works without internet.",
        "es": "El número de cuenta está en su factura o tarjeta. Esta página funciona sin internet.",
        "hi": "खाता संख्या आपके बिल या कार्ड पर है। यह पेज बिना इंटरनेट के चलता है।",
    },
    "wrong": {
        "en": "Account number and PIN do not match. Check both and try again.",
        "es": "La cuenta y el PIN no coinciden. Revise ambos e inténtelo de nuevo.",
        "hi": "खाता संख्या और पिन मेल नहीं खाते। दोनों जाँचकर फिर कोशिश करें।",
    },
    "locked": {
        "en": "Too many wrong tries. Wait {s} seconds.",
        "es": "Demasiados intentos. Espere {s} segundos.",
        "hi": "बहुत बार गलत। {s} सेकंड रुकें।",
    },
    "balance": {"en": "Balance", "es": "Saldo", "hi": "बैलेंस"},
    "enough_for": {
        "en": "Enough for about {t}, or {kwh} kWh",
        "es": "Alcanza para unas {t}, o {kwh} kWh",
        "hi": "लगभग {t} या {kwh} kWh के लिए",
    },
    "enough_kwh": {"en": "Enough for {kwh} kWh", "es": "Alcanza para {kwh} kWh", "hi": "{kwh} kWh के लिए"},
    "used_up": {"en": "Used up. Please top up.", "es": "Agotado. Recargue, por favor.", "hi": "समाप्त। कृपया रिचार्ज करें।"},
    "estimate": {"en": "estimate", "es": "estimación", "hi": "अनुमान"},
    "supply": {"en": "Supply", "es": "Servicio", "hi": "बिजली"},
    "on": {"en": "On", "es": "Conectado", "hi": "चालू"},
    "off": {"en": "Off", "es": "Cortado", "hi": "बंद"},
    "armed": {"en": "Ready", "es": "Listo", "hi": "तैयार"},
    "unknown": {"en": "Not known", "es": "No se sabe", "hi": "पता नहीं"},
    "price": {"en": "Price now", "es": "Precio ahora", "hi": "अभी का दाम"},
    "price_from": {"en": "Price from {d}", "es": "Precio desde el {d}", "hi": "{d} से दाम"},
    "price_value": {"en": "{p} per kWh, tax included", "es": "{p} por kWh, impuestos incluidos", "hi": "{p} प्रति kWh, कर सहित"},
    "usual_day": {"en": "Usual day", "es": "Día habitual", "hi": "सामान्य दिन"},
    "no_usual": {"en": "Known after the first whole day", "es": "Se sabrá tras el primer día completo", "hi": "पहले पूरे दिन के बाद"},
    "last_days": {"en": "Last seven days", "es": "Últimos siete días", "hi": "पिछले सात दिन"},
    "today": {"en": "Today", "es": "Hoy", "hi": "आज"},
    "part_of_day": {"en": "in part", "es": "en parte", "hi": "अधूरा"},
    "day": {"en": "Standing charge a day", "es": "Cargo fijo diario", "hi": "दैनिक स्थायी शुल्क"},
    "no_price": {"en": "Not known here yet", "es": "Aún no se conoce aquí", "hi": "अभी उपलब्ध नहीं"},
    "topup": {"en": "Last top-up", "es": "Última recarga", "hi": "पिछला रिचार्ज"},
    "topup_value": {"en": "{a} on {d}", "es": "{a} el {d}", "hi": "{a}, {d}"},
    "no_topup": {"en": "None yet", "es": "Ninguna todavía", "hi": "अभी तक नहीं"},
    "debt": {"en": "Owed", "es": "Debe", "hi": "बकाया"},
    "register": {"en": "Meter reading", "es": "Lectura del medidor", "hi": "मीटर रीडिंग"},
    "meter": {"en": "Meter", "es": "Medidor", "hi": "मीटर"},
    "messages": {"en": "Messages", "es": "Mensajes", "hi": "संदेश"},
    "no_messages": {"en": "No messages.", "es": "No hay mensajes.", "hi": "कोई संदेश नहीं।"},
    "as_of": {
        "en": "As of {d}, entry {n} of your account. This page renews itself.",
        "es": "Al {d}, asiento {n} de su cuenta. La página se renueva sola.",
        "hi": "{d} तक, आपके खाते की प्रविष्टि {n}। यह पेज अपने आप नया होता है।",
    },
    "never": {
        "en": "Your meter has not been read yet.",
        "es": "Aún no se ha leído su medidor.",
        "hi": "आपका मीटर अभी नहीं पढ़ा गया है।",
    },
    "old": {
        "en": "The last reading is from {d}. What you see may be out of date.",
        "es": "La última lectura es del {d}. Lo que ve puede no estar al día.",
        "hi": "पिछली रीडिंग {d} की है। जानकारी पुरानी हो सकती है।",
    },
    "not_ready": {
        "en": "The balance is not available at the moment. Try again in a minute.",
        "es": "El saldo no está disponible ahora. Inténtelo en un minuto.",
        "hi": "बैलेंस अभी उपलब्ध नहीं है। एक मिनट बाद कोशिश करें।",
    },
    "more_than": {
        "en": "More than 28 days",
        "es": "Más de 28 días",
        "hi": "28 दिन से अधिक",
    },
    "left_about": {
        "en": "About {t} left",
        "es": "Quedan unas {t}",
        "hi": "लगभग {t} शेष",
    },
    "kwh_about": {
        "en": "{kwh} kWh at the price of now",
        "es": "{kwh} kWh al precio de ahora",
        "hi": "अभी के दाम पर {kwh} kWh",
    },
    "runs_out": {
        "en": "until about {d}",
        "es": "hasta el {d} aprox.",
        "hi": "लगभग {d} तक",
    },
    "cost_today": {
        "en": "Used today",
        "es": "Gastado hoy",
        "hi": "आज का खर्च",
    },
    "charges_today": {
        "en": "What today's cost is made of",
        "es": "De qué se compone el gasto de hoy",
        "hi": "आज का खर्च कैसे बना",
    },
    "not_of_balance": {
        "en": "Not taken from the balance",
        "es": "No sale del saldo",
        "hi": "बैलेंस से नहीं लिया गया",
    },
    "limit": {
        "en": "Load limit",
        "es": "Límite de carga",
        "hi": "लोड सीमा",
    },
    "no_limit": {
        "en": "None in force",
        "es": "Ninguno",
        "hi": "कोई नहीं",
    },
    "protected": {
        "en": "Protected until",
        "es": "Protegido hasta",
        "hi": "सुरक्षित",
    },
    "protected_open": {
        "en": "Protected now",
        "es": "Protegido ahora",
        "hi": "अभी सुरक्षित",
    },
    "protected_value": {
        "en": "No cut before {d}",
        "es": "Sin corte antes del {d}",
        "hi": "{d} से पहले कटौती नहीं",
    },
    "schedule_running": {
        "en": "Schedule now",
        "es": "Horario en curso",
        "hi": "समय-सारणी अभी",
    },
    "schedule_coming": {
        "en": "Next schedule",
        "es": "Próximo horario",
        "hi": "अगली समय-सारणी",
    },
    "schedule_supply": {
        "en": "Supply on from {s} to {d}",
        "es": "Servicio conectado desde {s} hasta {d}",
        "hi": "{s} से {d} तक बिजली चालू",
    },
    "schedule_off": {
        "en": "Supply off from {s} to {d}",
        "es": "Servicio cortado desde {s} hasta {d}",
        "hi": "{s} से {d} तक बिजली बंद",
    },
    "event": {
        "en": "Event from {s} to {d}, paid by whoever asked for it",
        "es": "Evento desde {s} hasta {d}, lo paga quien lo pidió",
        "hi": "{s} से {d} तक कार्यक्रम, भुगतान माँगने वाला करेगा",
    },
    "event_credit": {
        "en": "Left for the event",
        "es": "Queda para el evento",
        "hi": "कार्यक्रम के लिए शेष",
    },
    "debt_day": {
        "en": "{a}, collected {r} each day",
        "es": "{a}, se cobran {r} cada día",
        "hi": "{a}, हर दिन {r} वसूली",
    },
    "debt_week": {
        "en": "{a}, collected {r} each week",
        "es": "{a}, se cobran {r} cada semana",
        "hi": "{a}, हर सप्ताह {r} वसूली",
    },
    "debt_month": {
        "en": "{a}, collected {r} each month",
        "es": "{a}, se cobran {r} cada mes",
        "hi": "{a}, हर माह {r} वसूली",
    },
    "debt_topup": {
        "en": "{a}, {p} % of each top-up",
        "es": "{a}, {p} % de cada recarga",
        "hi": "{a}, हर रिचार्ज का {p} %",
    },
    "emergency": {
        "en": "Emergency credit",
        "es": "Crédito de emergencia",
        "hi": "आपात क्रेडिट",
    },
    "emergency_offered": {
        "en": "{b} is ready for you. It is paid back with your next top-up.",
        "es": "Tiene {b} a su disposición. Se devuelve con la próxima recarga.",
        "hi": "{b} आपके लिए तैयार है। अगले रिचार्ज से यह लौटाया जाता है।",
    },
    "emergency_in_use": {
        "en": "In use: {u} used, {b} left. It is paid back with your next top-up.",
        "es": "En uso: {u} gastados, quedan {b}. Se devuelve con la próxima recarga.",
        "hi": "चालू: {u} उपयोग, {b} शेष। अगले रिचार्ज से लौटाया जाता है।",
    },
    "emergency_ready": {
        "en": "{b} can be taken when your balance is low.",
        "es": "Podrá tomar {b} cuando su saldo sea bajo.",
        "hi": "बैलेंस कम होने पर {b} ले सकते हैं।",
    },
    "emergency_take": {
        "en": "Take the emergency credit",
        "es": "Tomar el crédito de emergencia",
        "hi": "आपात क्रेडिट लें",
    },
    "at_home": {
        "en": "I am at home: switch on",
        "es": "Estoy en casa: conectar",
        "hi": "मैं घर पर हूँ: चालू करें",
    },
    "reclose": {
        "en": "I have reduced the load: switch on",
        "es": "He reducido la carga: conectar",
        "hi": "मैंने लोड घटाया: चालू करें",
    },
    "read": {
        "en": "I have read this",
        "es": "Lo he leído",
        "hi": "मैंने पढ़ लिया",
    },
    "save": {
        "en": "Keep",
        "es": "Guardar",
        "hi": "रखें",
    },
    "delete": {
        "en": "Delete",
        "es": "Borrar",
        "hi": "हटाएँ",
    },
    "is_saved": {
        "en": "Kept",
        "es": "Guardado",
        "hi": "रखा गया",
    },
    "say_yes": {
        "en": "Yes",
        "es": "Sí",
        "hi": "हाँ",
    },
    "say_no": {
        "en": "No",
        "es": "No",
        "hi": "नहीं",
    },
    "is_read": {
        "en": "Read",
        "es": "Leído",
        "hi": "पढ़ा गया",
    },
    "is_accepted": {
        "en": "You said yes",
        "es": "Usted dijo que sí",
        "hi": "आपने हाँ कहा",
    },
    "is_declined": {
        "en": "You said no",
        "es": "Usted dijo que no",
        "hi": "आपने नहीं कहा",
    },
    "said_accepted": {
        "en": "Done: the emergency credit is in use.",
        "es": "Hecho: el crédito de emergencia está en uso.",
        "hi": "हो गया: आपात क्रेडिट चालू है।",
    },
    "said_not_offered": {
        "en": "Emergency credit can not be taken now.",
        "es": "Ahora no se puede tomar crédito de emergencia.",
        "hi": "अभी आपात क्रेडिट नहीं लिया जा सकता।",
    },
    "said_asked": {
        "en": "Asked. The supply is switched on if the rules allow it.",
        "es": "Pedido. Se conectará si las reglas lo permiten.",
        "hi": "अनुरोध भेजा। नियम अनुमति दें तो बिजली चालू होगी।",
    },
    "said_noted": {
        "en": "Noted.",
        "es": "Anotado.",
        "hi": "दर्ज हुआ।",
    },
    "said_later": {
        "en": "Your wish is kept and done as soon as the meter box answers.",
        "es": "Su petición queda guardada y se hará en cuanto responda el concentrador.",
        "hi": "आपका अनुरोध रखा गया है; मीटर बॉक्स के उत्तर देते ही होगा।",
    },
}


class Words(shared.Words):
    """The words of an account, with the page's labels."""

    __slots__ = ()

    def label(self, name: str, **values: str) -> str:
        texts = LABELS[name]
        return texts.get(self.language, texts[FALLBACK]).format(**values)


def accepted(header: str) -> str:
    """The first language of an Accept-Language header that we have."""
    return language_of(*(part.split(";")[0].strip()[:2].lower() for part in header[:200].split(",")))
